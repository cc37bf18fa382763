-- Queues under the name of their newest record.
CREATE TABLE IF NOT EXISTS queue (
  queueid VARCHAR(512) NOT NULL,
  queuename VARCHAR(1024),
  lastupdatetimestamp TIMESTAMPTZ NOT NULL)
