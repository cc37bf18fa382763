-- One row for each event; partition_hour is the hour of its folder, which need not be the event's own.
CREATE TABLE IF NOT EXISTS events (
  partition_hour TIMESTAMP NOT NULL SORTKEY,
  request_id VARCHAR(36) NOT NULL,
  request_timestamp TIMESTAMP NOT NULL,
  cookie_id VARCHAR(36) NOT NULL,
  topic VARCHAR(1024) NOT NULL,
  message VARCHAR(3128),
  environment VARCHAR(30),
  website_id VARCHAR(36),
  user_account_id VARCHAR(36),
  location VARCHAR(5000),
  user_agent VARCHAR(1024),
  referrer VARCHAR(500))
