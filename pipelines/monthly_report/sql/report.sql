-- For each area code and exchange that was called: how often, and how long. One month of one year.
SELECT
  npanxx,
  sum(duration) AS totalduration,
  count(*) AS callcount
FROM processed_cdrs
WHERE year = ? AND month = ?
GROUP BY npanxx
ORDER BY totalduration DESC, npanxx
