-- The records as they are; whether one fits is decided afterwards, for each by itself.
CREATE TEMP TABLE stage_event (
  request_id VARCHAR(65535), request_timestamp VARCHAR(65535), cookie_id VARCHAR(65535), topic VARCHAR(65535),
  message VARCHAR(65535), environment VARCHAR(65535), website_id VARCHAR(65535), user_account_id VARCHAR(65535),
  location VARCHAR(65535), user_agent VARCHAR(65535), referrer VARCHAR(65535),
  reject_reason VARCHAR(2000))
