-- Everything that is wrong with a record; nothing is an empty text.
UPDATE stage_event SET reject_reason =
       CASE WHEN request_id IS NULL THEN 'request_id is missing; ' ELSE '' END
    || CASE WHEN OCTET_LENGTH(request_id) > 36 THEN 'request_id has more than 36 bytes; ' ELSE '' END
    || CASE WHEN request_timestamp IS NULL THEN 'request_timestamp is missing; ' ELSE '' END
    || CASE WHEN cookie_id IS NULL THEN 'cookie_id is missing; ' ELSE '' END
    || CASE WHEN OCTET_LENGTH(cookie_id) > 36 THEN 'cookie_id has more than 36 bytes; ' ELSE '' END
    || CASE WHEN topic IS NULL THEN 'topic is missing; ' ELSE '' END
    || CASE WHEN OCTET_LENGTH(topic) > 1024 THEN 'topic has more than 1024 bytes; ' ELSE '' END
    || CASE WHEN OCTET_LENGTH(message) > 3128 THEN 'message has more than 3128 bytes; ' ELSE '' END
    || CASE WHEN OCTET_LENGTH(environment) > 30 THEN 'environment has more than 30 bytes; ' ELSE '' END
    || CASE WHEN OCTET_LENGTH(website_id) > 36 THEN 'website_id has more than 36 bytes; ' ELSE '' END
    || CASE WHEN OCTET_LENGTH(user_account_id) > 36 THEN 'user_account_id has more than 36 bytes; ' ELSE '' END
    || CASE WHEN OCTET_LENGTH(location) > 5000 THEN 'location has more than 5000 bytes; ' ELSE '' END
    || CASE WHEN OCTET_LENGTH(user_agent) > 1024 THEN 'user_agent has more than 1024 bytes; ' ELSE '' END
    || CASE WHEN OCTET_LENGTH(referrer) > 500 THEN 'referrer has more than 500 bytes; ' ELSE '' END
    || CASE WHEN request_timestamp !~ '^[0-9]{4}-(0[1-9]|1[0-2])-[0-9]{2}[ T]([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]([.][0-9]+)?Z?$'
            THEN 'request_timestamp is no time; '
            -- A day that its month does not have.
            WHEN SUBSTRING(request_timestamp, 9, 2)::int NOT BETWEEN 1
                 AND DATE_PART(day, LAST_DAY((SUBSTRING(request_timestamp, 1, 7) || '-01')::date))
            THEN 'request_timestamp is no time; ' ELSE '' END
