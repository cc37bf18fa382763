-- One row for each day on which leads were created. A window of n days ends with the run's date; as it is counted
-- within the row, the sum over all rows is the number of the window.
WITH
run AS (
  SELECT CAST(? AS date) AS day
),
leads AS (
  SELECT
    id,
    created_date,
    converted_date,
    status,
    run.day,
    date_diff('day', created_date, run.day) AS age,
    date_diff('day', converted_date, run.day) AS converted_ago
  FROM int_salesforce_leads
  CROSS JOIN run
)
SELECT
  count(id) AS new_leads_created,
  count_if(age BETWEEN 0 AND 6) AS new_leads_last_7_days,
  count_if(age BETWEEN 0 AND 13) AS new_leads_last_14_days,
  count_if(age BETWEEN 0 AND 20) AS new_leads_last_21_days,
  count_if(age BETWEEN 0 AND 364) AS new_leads_last_365_days,
  count(converted_date) AS leads_converted,
  count_if(converted_ago BETWEEN 0 AND 6) AS leads_converted_last_7_days,
  count_if(converted_ago BETWEEN 0 AND 13) AS leads_converted_last_14_days,
  count_if(converted_ago BETWEEN 0 AND 20) AS leads_converted_last_21_days,
  count_if(converted_ago BETWEEN 0 AND 364) AS leads_converted_last_365_days,
  count_if(upper(status) = 'WORKING') AS number_of_open_leads,
  -- From creation to conversion, so never negative where the file is right.
  CAST(round(avg(date_diff('day', created_date, converted_date))) AS bigint) AS avg_days_to_convert,
  day AS ingestion_date_utc,
  created_date
FROM leads
GROUP BY created_date, day
