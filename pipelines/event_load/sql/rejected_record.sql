-- What does not fit its table, and why.
CREATE TABLE IF NOT EXISTS rejected_record (
  partition_hour TIMESTAMP NOT NULL SORTKEY,
  stream VARCHAR(10) NOT NULL,
  reason VARCHAR(2000) NOT NULL,
  request_id VARCHAR(256),
  record VARCHAR(32000))
