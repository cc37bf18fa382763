-- One day of call detail records, from the service's JSON to partitioned Parquet.
--
-- This is what the sandbox runs; on AWS the same job runs jobs/cdr_etl.py. The two are
-- twins: tests/python/test_twin.py runs both and compares rows and schema. Change both.

SET report = 's3://${processed_bucket}/_reports/daily_cdr_etl/${date}.json';
SET quarantine = 's3://${processed_bucket}/quarantine/${date}/';
-- Before the first call there is nothing to crawl, hence no table: an empty day, not an error.
SET on_missing_table = 'empty';

-- The record as documented. Declared, not crawled: a day whose first files happen to hold
-- whole minutes must not turn a column into integers.
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

-- The crawler names the folders json/<connector>/<year>/<month>/<day> partition_0 to 4.
CREATE TEMPORARY VIEW day_calls AS
SELECT * FROM raw
WHERE partition_2 = substring(:date, 1, 4)
  AND partition_3 = substring(:date, 6, 2)
  AND partition_4 = substring(:date, 9, 2);

-- A run owns its date and nothing else: running it again replaces the date, also when
-- fewer hours or connectors remain.
INSERT OVERWRITE DIRECTORY 's3://${processed_bucket}/processed_cdrs/'
USING PARQUET
PARTITIONED BY (voiceconnectorid, year, month, day, hour)
REPLACE WHERE year = substring(:date, 1, 4) AND month = substring(:date, 6, 2) AND day = substring(:date, 9, 2)
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
FROM day_calls;
