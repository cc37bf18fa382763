-- What the report adds up to; a month without calls is a row of zeros.
SELECT
  count(*) AS calls,
  coalesce(sum(duration), 0) AS seconds,
  count(DISTINCT day) AS days,
  count(DISTINCT npanxx) AS codes
FROM processed_cdrs
WHERE year = ? AND month = ?
