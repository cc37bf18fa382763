-- Licensed operations of source_3.
SELECT
  operation_name AS operator,
  CAST(operation AS bigint) AS operation_id,
  type AS facility_type,
  facility_id,
  status,
  address,
  city,
  state,
  zip,
  county,
  phone,
  IF(regexp_like(email_address, '^[A-Za-z0-9._%+-]+@[A-Za-z0-9.-]+[.][A-Za-z]{2,}$'), email_address) AS email_address,
  issue_date AS issued_date,
  CAST(capacity AS integer) AS capacity,
  CASE
    WHEN infant = 'Y' THEN 'Infants'
    WHEN toddler = 'Y' THEN 'Toddlers'
    WHEN preschool = 'Y' THEN 'Preschool'
    WHEN school = 'Y' THEN 'School-Age'
  END AS age_type,
  CAST(? AS date) AS ingestion_date_utc
FROM checked_source_3
WHERE verdict <> 'quarantined'
