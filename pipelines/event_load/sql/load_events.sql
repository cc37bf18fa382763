INSERT INTO events
SELECT :hour::timestamp,
       request_id, CASE WHEN reject_reason = '' THEN request_timestamp::timestamp END, cookie_id, topic, message,
       environment, website_id, user_account_id, location, user_agent, referrer
  FROM stage_event
 WHERE reject_reason = ''
