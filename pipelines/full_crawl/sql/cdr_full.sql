-- All call detail records, of the raw bucket and of one with older ones, to partitioned Parquet.
--
-- This is what the sandbox runs; on AWS the same job runs daily_cdr_etl's jobs/cdr_etl.py with --full.
-- The two are twins, as are this file and daily_cdr_etl's sql/cdr_etl.sql: what becomes of one record
-- is the same in all of them. tests/python/test_full_crawl.py and test_twin.py compare. Change all.

SET report = 's3://${processed_bucket}/_reports/full_crawl/${run_key}.json';
SET quarantine = 's3://${processed_bucket}/quarantine/full/';
-- Where nothing was crawled there is no table: no records, not an error.
SET on_missing_table = 'empty';

CREATE TEMPORARY VIEW raw (
  awsaccountid STRING,
  transactionid STRING,
  callid STRING,
  voiceconnectorid STRING,
  status STRING,
  statusmessage STRING,
  billabledurationseconds INT,
  billabledurationminutes DOUBLE,
  schemaversion STRING,
  sourcephonenumber STRING,
  sourcecountry STRING,
  destinationphonenumber STRING,
  destinationcountry STRING,
  usagetype STRING,
  servicecode STRING,
  direction STRING,
  starttimeepochseconds BIGINT,
  endtimeepochseconds BIGINT,
  region STRING,
  streaming BOOLEAN,
  isproxycall BOOLEAN
)
PARTITIONED BY (partition_0, partition_1, partition_2, partition_3, partition_4)
USING glue OPTIONS (database '${database}', table '${table}');

-- Older records, moved aside or of another account; a call that both buckets have counts once.
CREATE TEMPORARY VIEW additional (
  awsaccountid STRING,
  transactionid STRING,
  callid STRING,
  voiceconnectorid STRING,
  status STRING,
  statusmessage STRING,
  billabledurationseconds INT,
  billabledurationminutes DOUBLE,
  schemaversion STRING,
  sourcephonenumber STRING,
  sourcecountry STRING,
  destinationphonenumber STRING,
  destinationcountry STRING,
  usagetype STRING,
  servicecode STRING,
  direction STRING,
  starttimeepochseconds BIGINT,
  endtimeepochseconds BIGINT,
  region STRING,
  streaming BOOLEAN,
  isproxycall BOOLEAN
)
PARTITIONED BY (partition_0, partition_1, partition_2, partition_3, partition_4)
USING glue OPTIONS (database '${additional_database}', table '${table}');

CREATE TEMPORARY VIEW calls AS
SELECT * FROM raw
UNION ALL
SELECT * FROM additional AS a
WHERE NOT EXISTS (SELECT 1 FROM raw AS r WHERE r.transactionid = a.transactionid);

-- The whole table is replaced: a date that has no records any more disappears.
INSERT OVERWRITE DIRECTORY 's3://${processed_bucket}/processed_cdrs/'
USING PARQUET
PARTITIONED BY (voiceconnectorid, year, month, day, hour)
SELECT
  awsaccountid,
  transactionid,
  callid,
  status,
  statusmessage,
  billabledurationseconds,
  billabledurationminutes,
  schemaversion,
  sourcephonenumber,
  sourcecountry,
  destinationphonenumber,
  destinationcountry,
  usagetype,
  servicecode,
  direction,
  starttimeepochseconds,
  endtimeepochseconds,
  region,
  streaming,
  isproxycall,
  partition_0,
  partition_1,
  -- How long the call was, not how long was billed.
  endtimeepochseconds - starttimeepochseconds AS duration,
  -- Area code and exchange of a number written as +1…; six characters from the third on,
  -- whatever the number looks like.
  substring(destinationphonenumber, 3, 6) AS npanxx,
  voiceconnectorid,
  partition_2 AS year,
  partition_3 AS month,
  partition_4 AS day,
  from_unixtime(starttimeepochseconds, 'HH') AS hour
FROM calls;
