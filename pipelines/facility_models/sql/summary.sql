-- What became of the rows of each file; the first line is all of them.
WITH judged AS (
  SELECT 'salesforce_leads' AS source, verdict FROM checked_salesforce_leads
  UNION ALL
  SELECT 'source_1' AS source, verdict FROM checked_source_1
  UNION ALL
  SELECT 'source_2' AS source, verdict FROM checked_source_2
  UNION ALL
  SELECT 'source_3' AS source, verdict FROM checked_source_3
),
counted AS (
  SELECT
    source,
    count(*) AS in_file,
    count_if(verdict = 'valid') AS valid,
    count_if(verdict = 'repaired') AS repaired,
    count_if(verdict = 'quarantined') AS quarantined
  FROM judged
  GROUP BY source
)
SELECT
  'all' AS source,
  sum(in_file) AS in_file,
  sum(valid) AS valid,
  sum(repaired) AS repaired,
  sum(quarantined) AS quarantined
FROM counted
UNION ALL
SELECT source, in_file, valid, repaired, quarantined
FROM counted
ORDER BY source
