-- Homes and centers of source_2 with their hours and ages.
WITH
aged AS (
  SELECT
    *,
    -- Of the first ages that are accepted, the text before its bracket.
    CASE
      WHEN upper(split_part(ages_accepted_1, '(', 1)) LIKE '%TODDLERS%' THEN 'Toddlers'
      WHEN upper(split_part(ages_accepted_1, '(', 1)) LIKE '%PRESCHOOL%' THEN 'Preschool'
      WHEN upper(split_part(ages_accepted_1, '(', 1)) LIKE '%SCHOOL-AGE%' THEN 'School-Age'
      WHEN upper(split_part(ages_accepted_1, '(', 1)) LIKE '%INFANTS%' THEN 'Infants'
    END AS age_type
  FROM checked_source_2
  WHERE verdict <> 'quarantined'
)
SELECT
  company,
  type_license AS license_type,
  address1,
  address2,
  city,
  state,
  zip,
  phone,
  email,
  IF(upper(accepts_subsidy) = 'ACCEPTS SUBSIDY', 'Y', 'N') AS accepts_financial_aid,
  year_round,
  age_type,
  concat(
    'Mon: ', IF(regexp_like(mon, '[0-9]'), 'Open', 'Closed'),
    ', Tues: ', IF(regexp_like(tues, '[0-9]'), 'Open', 'Closed'),
    ', Wed: ', IF(regexp_like(wed, '[0-9]'), 'Open', 'Closed'),
    ', Thurs: ', IF(regexp_like(thurs, '[0-9]'), 'Open', 'Closed'),
    ', Fri: ', IF(regexp_like(friday, '[0-9]'), 'Open', 'Closed'),
    ', Sat: ', IF(regexp_like(saturday, '[0-9]'), 'Open', 'Closed'),
    ', Sun: ', IF(regexp_like(sunday, '[0-9]'), 'Open', 'Closed')
  ) AS schedule,
  CAST(
    CASE age_type WHEN 'Toddlers' THEN 12 WHEN 'Preschool' THEN 24 WHEN 'School-Age' THEN 60 WHEN 'Infants' THEN 0 END
    AS integer
  ) AS min_age_months,
  CAST(
    CASE age_type WHEN 'Toddlers' THEN 23 WHEN 'Preschool' THEN 48 WHEN 'Infants' THEN 11 END AS integer
  ) AS max_age_months,
  CAST(? AS date) AS ingestion_date_utc
FROM aged
