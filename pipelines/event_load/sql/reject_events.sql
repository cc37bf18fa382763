INSERT INTO rejected_record
SELECT :hour::timestamp, 'event', reject_reason, LEFT(request_id, 256),
       LEFT('request_id=' || COALESCE(request_id, '-')
         || ' request_timestamp=' || COALESCE(request_timestamp, '-')
         || ' cookie_id=' || COALESCE(cookie_id, '-')
         || ' topic=' || COALESCE(topic, '-')
         || ' message=' || COALESCE(message, '-')
         || ' environment=' || COALESCE(environment, '-')
         || ' website_id=' || COALESCE(website_id, '-')
         || ' user_account_id=' || COALESCE(user_account_id, '-')
         || ' location=' || COALESCE(location, '-')
         || ' user_agent=' || COALESCE(user_agent, '-')
         || ' referrer=' || COALESCE(referrer, '-'), 8000)
  FROM stage_event
 WHERE reject_reason <> ''
