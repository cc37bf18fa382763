-- Whoever was at the other end; the id is made of type and address, so nothing of a row ever changes.
CREATE TABLE IF NOT EXISTS customer (
  customerid VARCHAR(36) NOT NULL,
  type VARCHAR(64),
  address VARCHAR(1024))
