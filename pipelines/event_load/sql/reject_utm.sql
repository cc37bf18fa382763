INSERT INTO rejected_record
SELECT :hour::timestamp, 'utm', reject_reason, LEFT(request_id, 256),
       LEFT('request_id=' || COALESCE(request_id, '-')
         || ' source=' || COALESCE(source, '-')
         || ' medium=' || COALESCE(medium, '-')
         || ' campaign=' || COALESCE(campaign, '-')
         || ' content=' || COALESCE(content, '-')
         || ' term=' || COALESCE(term, '-')
         || ' matchtype=' || COALESCE(matchtype, '-')
         || ' network=' || COALESCE(network, '-')
         || ' ad_id=' || COALESCE(ad_id, '-')
         || ' ad_pos=' || COALESCE(ad_pos, '-')
         || ' placement=' || COALESCE(placement, '-')
         || ' placement_category=' || COALESCE(placement_category, '-')
         || ' testgroup=' || COALESCE(testgroup, '-')
         || ' device=' || COALESCE(device, '-'), 8000)
  FROM stage_utm
 WHERE reject_reason <> ''
