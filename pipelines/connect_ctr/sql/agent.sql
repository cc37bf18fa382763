-- Agents under the name of their newest record.
CREATE TABLE IF NOT EXISTS agent (
  agentid VARCHAR(512) NOT NULL,
  agentusername VARCHAR(400),
  lastupdatetimestamp TIMESTAMPTZ NOT NULL)
