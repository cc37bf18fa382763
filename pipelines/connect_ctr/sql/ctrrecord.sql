-- One row for each contact, as its newest record has it. The lengths are Connect's, in bytes of UTF-8.
CREATE TABLE IF NOT EXISTS ctrrecord (
  recordid VARCHAR(256) NOT NULL,
  lastupdatetimestamp TIMESTAMPTZ NOT NULL SORTKEY,
  awsaccountid VARCHAR(12),
  agentid VARCHAR(512),
  queueid VARCHAR(512),
  channel VARCHAR(32),
  customerid VARCHAR(36),
  agentinteractionduration INT,
  customerholdduration INT,
  connectedtimestamp TIMESTAMPTZ,
  disconnectedtimestamp TIMESTAMPTZ,
  disconnectedreason VARCHAR(256),
  agentconnectionattempts INT,
  initiationmethod VARCHAR(64),
  queueduration INT,
  customerintent VARCHAR(32768),
  withvoicemail BOOLEAN NOT NULL)
