-- The records as they are; whether one fits is decided afterwards, for each by itself.
CREATE TEMP TABLE stage_utm (
  request_id VARCHAR(65535), source VARCHAR(65535), medium VARCHAR(65535), campaign VARCHAR(65535),
  content VARCHAR(65535), term VARCHAR(65535), matchtype VARCHAR(65535), network VARCHAR(65535),
  ad_id VARCHAR(65535), ad_pos VARCHAR(65535), placement VARCHAR(65535), placement_category VARCHAR(65535),
  testgroup VARCHAR(65535), device VARCHAR(65535),
  reject_reason VARCHAR(2000))
