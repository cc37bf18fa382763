-- The rows of source_3 that went no further, cell by cell as they came, with the reason. The four files share one
-- table, so no text has a length: Athena would give each file's words their own, and refuse the others.
SELECT
  CAST(reason AS varchar) AS reason,
  CAST(layout AS varchar) AS layout,
  cells,
  CAST(? AS varchar) AS day,
  CAST('source_3' AS varchar) AS source
FROM checked_source_3
WHERE verdict = 'quarantined'
