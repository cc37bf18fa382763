-- Leads that nobody deleted.
WITH run AS (
  SELECT CAST(? AS date) AS day
)
SELECT
  CAST(id AS bigint) AS id,
  first_name,
  last_name,
  title,
  company,
  CAST(phone AS bigint) AS phone,
  -- What looks like a telephone number.
  IF(
    regexp_like(
      mobile_phone,
      '^([+]?[1-9][0-9]{1,14}|([(][0-9]{3}[)] ?|[0-9]{3}[-. ]?)?[0-9]{3}[-. ]?[0-9]{4})$'
    ),
    mobile_phone
  ) AS mobile_phone,
  IF(regexp_like(email, '^[A-Za-z0-9._%+-]+@[A-Za-z0-9.-]+[.][A-Za-z]{2,}$'), email) AS email,
  street,
  city,
  state,
  postal_code,
  IF(upper(status) IN ('WORKING', 'ASSIGNED', 'UNQUALIFIED', 'CONNECTED', 'RECYCLED'), status) AS status,
  lead_source,
  website,
  run.day AS ingestion_date_utc,
  -- The file has no day of conversion, only a flag. A converted lead can no longer be changed, so the last
  -- change was the conversion.
  IF(is_converted = 'TRUE', last_modified_date) AS converted_date,
  last_modified_date,
  last_activity_date,
  last_referenced_date,
  created_date
FROM checked_salesforce_leads
CROSS JOIN run
WHERE verdict <> 'quarantined' AND is_deleted = 'false'
