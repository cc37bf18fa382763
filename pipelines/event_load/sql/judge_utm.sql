-- Everything that is wrong with a record; nothing is an empty text.
UPDATE stage_utm SET reject_reason =
       CASE WHEN request_id IS NULL THEN 'request_id is missing; ' ELSE '' END
    || CASE WHEN OCTET_LENGTH(request_id) > 56 THEN 'request_id has more than 56 bytes; ' ELSE '' END
    || CASE WHEN source IS NULL THEN 'source is missing; ' ELSE '' END
    || CASE WHEN OCTET_LENGTH(source) > 255 THEN 'source has more than 255 bytes; ' ELSE '' END
    || CASE WHEN medium IS NULL THEN 'medium is missing; ' ELSE '' END
    || CASE WHEN OCTET_LENGTH(medium) > 255 THEN 'medium has more than 255 bytes; ' ELSE '' END
    || CASE WHEN OCTET_LENGTH(campaign) > 255 THEN 'campaign has more than 255 bytes; ' ELSE '' END
    || CASE WHEN OCTET_LENGTH(content) > 255 THEN 'content has more than 255 bytes; ' ELSE '' END
    || CASE WHEN OCTET_LENGTH(term) > 255 THEN 'term has more than 255 bytes; ' ELSE '' END
    || CASE WHEN OCTET_LENGTH(matchtype) > 255 THEN 'matchtype has more than 255 bytes; ' ELSE '' END
    || CASE WHEN OCTET_LENGTH(network) > 255 THEN 'network has more than 255 bytes; ' ELSE '' END
    || CASE WHEN OCTET_LENGTH(ad_id) > 255 THEN 'ad_id has more than 255 bytes; ' ELSE '' END
    || CASE WHEN OCTET_LENGTH(ad_pos) > 255 THEN 'ad_pos has more than 255 bytes; ' ELSE '' END
    || CASE WHEN OCTET_LENGTH(placement) > 255 THEN 'placement has more than 255 bytes; ' ELSE '' END
    || CASE WHEN OCTET_LENGTH(placement_category) > 255 THEN 'placement_category has more than 255 bytes; ' ELSE '' END
    || CASE WHEN OCTET_LENGTH(testgroup) > 255 THEN 'testgroup has more than 255 bytes; ' ELSE '' END
    || CASE WHEN OCTET_LENGTH(device) > 255 THEN 'device has more than 255 bytes; ' ELSE '' END
