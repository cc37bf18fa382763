INSERT INTO utm
SELECT :hour::timestamp,
       request_id, source, medium, campaign, content, term, matchtype, network, ad_id, ad_pos, placement,
       placement_category, testgroup, device
  FROM stage_utm
 WHERE reject_reason = ''
