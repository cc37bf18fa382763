-- Every lead with a verdict: `valid`, `repaired` (its cells slid left in a way that is known, and stand in their right
-- columns here) or `quarantined` with the reason. Which ways are known and why they are certain: README.md.
WITH
read AS (
  SELECT
    ARRAY[
      CAST(id AS varchar),
      CAST(is_deleted AS varchar),
      CAST(last_name AS varchar),
      CAST(first_name AS varchar),
      CAST(title AS varchar),
      CAST(company AS varchar),
      CAST(street AS varchar),
      CAST(city AS varchar),
      CAST(state AS varchar),
      CAST(postal_code AS varchar),
      CAST(country AS varchar),
      CAST(phone AS varchar),
      CAST(mobile_phone AS varchar),
      CAST(email AS varchar),
      CAST(website AS varchar),
      CAST(lead_source AS varchar),
      CAST(status AS varchar),
      CAST(is_converted AS varchar),
      CAST(created_date AS varchar),
      CAST(last_modified_date AS varchar),
      CAST(last_activity_date AS varchar),
      CAST(last_viewed_date AS varchar),
      CAST(last_referenced_date AS varchar),
      CAST(email_bounced_reason AS varchar),
      CAST(email_bounced_date AS varchar),
      CAST(outreach_stage_c AS varchar),
      CAST(current_enrollment_c AS varchar),
      CAST(capacity_c AS varchar),
      CAST(lead_source_last_updated_c AS varchar),
      CAST(brightwheel_school_uuid_c AS varchar)
    ] AS cells
  FROM raw_salesforce_leads
),
-- The flag `is_converted` and the moment of creation behind it tell how far the end of the row slid; as many cells are
-- missing at its end.
recognised AS (
  SELECT
    cells,
    CASE
      WHEN upper(element_at(cells, 18)) IN ('TRUE', 'FALSE')
        AND regexp_like(element_at(cells, 19), '^[0-9]+/')
        AND (element_at(cells, 15) IS NULL
          OR regexp_like(element_at(cells, 15), '^(https?://)?([A-Za-z0-9-]+[.])+[A-Za-z]{2,6}(/.*)?$'))
        THEN 'straight'
      WHEN upper(element_at(cells, 17)) IN ('TRUE', 'FALSE')
        AND regexp_like(element_at(cells, 18), '^[0-9]+/')
        AND element_at(cells, 30) IS NULL
        -- Where nothing says that it is a source, the status must be known: it could be a source whose status is missing.
        AND (NOT regexp_like(element_at(cells, 15), '^(https?://)?([A-Za-z0-9-]+[.])+[A-Za-z]{2,6}(/.*)?$')
          OR element_at(cells, 15) IS NULL
            AND upper(element_at(cells, 16)) IN ('WORKING', 'ASSIGNED', 'UNQUALIFIED', 'CONNECTED', 'RECYCLED'))
        THEN 'no website'
      WHEN upper(element_at(cells, 16)) IN ('TRUE', 'FALSE')
        AND regexp_like(element_at(cells, 17), '^[0-9]+/')
        AND element_at(cells, 29) IS NULL AND element_at(cells, 30) IS NULL
        AND regexp_like(element_at(cells, 11), '^[0-9]{7,15}$')
        AND element_at(cells, 13) LIKE '%@%'
        AND (element_at(cells, 14) IS NOT NULL
          OR upper(element_at(cells, 15)) IN ('WORKING', 'ASSIGNED', 'UNQUALIFIED', 'CONNECTED', 'RECYCLED'))
        AND regexp_like(upper(element_at(cells, 10)), '^([0-9]{5}(-[0-9]{4})?|[A-Z][0-9][A-Z] ?[0-9][A-Z][0-9])$')
        THEN 'no country'
      WHEN upper(element_at(cells, 16)) IN ('TRUE', 'FALSE')
        AND regexp_like(element_at(cells, 17), '^[0-9]+/')
        AND element_at(cells, 29) IS NULL AND element_at(cells, 30) IS NULL
        AND regexp_like(element_at(cells, 11), '^[0-9]{7,15}$')
        AND element_at(cells, 13) LIKE '%@%'
        AND (element_at(cells, 14) IS NOT NULL
          OR upper(element_at(cells, 15)) IN ('WORKING', 'ASSIGNED', 'UNQUALIFIED', 'CONNECTED', 'RECYCLED'))
        AND regexp_like(upper(element_at(cells, 9)), '^([0-9]{5}(-[0-9]{4})?|[A-Z][0-9][A-Z] ?[0-9][A-Z][0-9])$')
        AND regexp_like(element_at(cells, 10), '^[A-Za-z][A-Za-z .]*$')
        -- Not the company (the sales system demands one), the street or the city; and what stands there as the first
        -- name is no title.
        AND element_at(cells, 5) IS NOT NULL
        AND regexp_like(element_at(cells, 6), '^[0-9]+ ')
        AND regexp_like(element_at(cells, 7), '^[^0-9]+$')
        AND NOT regexp_like(
          upper(coalesce(element_at(cells, 4), '')),
          'DIRECTOR|OWNER|MANAGER|ADMINISTRATOR|PRINCIPAL|TEACHER|PRESIDENT|COORDINATOR|SUPERVISOR|FOUNDER|CHIEF|CEO'
        )
        THEN 'no title'
      ELSE 'unknown'
    END AS layout
  FROM read
),
-- How many places to the left the cells stand, from three columns on.
slid AS (
  SELECT
    cells,
    layout,
    IF(layout = 'no title', 1, 0) AS from_title,
    IF(layout IN ('no title', 'no country'), 1, 0) AS from_country,
    CASE layout WHEN 'no website' THEN 1 WHEN 'no country' THEN 2 WHEN 'no title' THEN 2 ELSE 0 END AS from_website
  FROM recognised
),
aligned AS (
  SELECT
    cells,
    layout,
    element_at(cells, 1) AS id,
    lower(element_at(cells, 2)) AS is_deleted,
    element_at(cells, 3) AS last_name,
    element_at(cells, 4) AS first_name,
    IF(layout <> 'no title', element_at(cells, 5)) AS title,
    element_at(cells, 6 - from_title) AS company,
    element_at(cells, 7 - from_title) AS street,
    element_at(cells, 8 - from_title) AS city,
    element_at(cells, 9 - from_title) AS state,
    element_at(cells, 10 - from_title) AS postal_code,
    IF(layout <> 'no country', element_at(cells, 11 - from_title)) AS country,
    element_at(cells, 12 - from_country) AS phone,
    element_at(cells, 13 - from_country) AS mobile_phone,
    element_at(cells, 14 - from_country) AS email,
    IF(layout = 'straight', element_at(cells, 15)) AS website,
    element_at(cells, 16 - from_website) AS lead_source,
    element_at(cells, 17 - from_website) AS status,
    upper(element_at(cells, 18 - from_website)) AS is_converted,
    element_at(cells, 19 - from_website) AS created_text,
    element_at(cells, 20 - from_website) AS modified_text,
    element_at(cells, 21 - from_website) AS activity_text,
    element_at(cells, 22 - from_website) AS last_viewed_date,
    element_at(cells, 23 - from_website) AS referenced_text
  FROM slid
),
-- `9/4/21 0:13` and `5/17/24`; what is no day of the calendar is null. The sales system is of this century.
dated AS (
  SELECT
    *,
    TRY_CAST(concat(
      '20', regexp_extract(created_text, '^[0-9]+/[0-9]+/([0-9]{2})( [0-9]{1,2}:[0-9]{2})?$', 1),
      '-', lpad(regexp_extract(created_text, '^([0-9]{1,2})/', 1), 2, '0'),
      '-', lpad(regexp_extract(created_text, '/([0-9]{1,2})/', 1), 2, '0')
    ) AS date) AS created_date,
    TRY_CAST(concat(
      '20', regexp_extract(modified_text, '^[0-9]+/[0-9]+/([0-9]{2})( [0-9]{1,2}:[0-9]{2})?$', 1),
      '-', lpad(regexp_extract(modified_text, '^([0-9]{1,2})/', 1), 2, '0'),
      '-', lpad(regexp_extract(modified_text, '/([0-9]{1,2})/', 1), 2, '0')
    ) AS date) AS last_modified_date,
    TRY_CAST(concat(
      '20', regexp_extract(activity_text, '^[0-9]+/[0-9]+/([0-9]{2})( [0-9]{1,2}:[0-9]{2})?$', 1),
      '-', lpad(regexp_extract(activity_text, '^([0-9]{1,2})/', 1), 2, '0'),
      '-', lpad(regexp_extract(activity_text, '/([0-9]{1,2})/', 1), 2, '0')
    ) AS date) AS last_activity_date,
    TRY_CAST(concat(
      '20', regexp_extract(referenced_text, '^[0-9]+/[0-9]+/([0-9]{2})( [0-9]{1,2}:[0-9]{2})?$', 1),
      '-', lpad(regexp_extract(referenced_text, '^([0-9]{1,2})/', 1), 2, '0'),
      '-', lpad(regexp_extract(referenced_text, '/([0-9]{1,2})/', 1), 2, '0')
    ) AS date) AS last_referenced_date
  FROM aligned
),
judged AS (
  SELECT
    *,
    array_join(ARRAY[
      IF(id IS NULL OR NOT regexp_like(id, '^[0-9]{1,18}$'), 'id'),
      IF(is_deleted IS NULL OR is_deleted NOT IN ('true', 'false'), 'is_deleted'),
      IF(coalesce(last_name, '') = '', 'last_name'),
      IF(regexp_like(country, '[0-9@]'), 'country'),
      IF(NOT regexp_like(phone, '^[0-9]{7,15}$'), 'phone'),
      IF(mobile_phone LIKE '%@%', 'mobile_phone'),
      IF(NOT email LIKE '%@%', 'email'),
      IF(NOT regexp_like(lead_source, '^[A-Za-z][A-Za-z &/-]*$'), 'lead_source'),
      IF(NOT regexp_like(status, '^[A-Za-z][A-Za-z -]*$'), 'status'),
      IF(created_date IS NULL, 'created_date'),
      -- The system always writes this one, and with a time: else it is the day of the last activity, slid.
      IF(last_modified_date IS NULL OR NOT regexp_like(modified_text, ' '), 'last_modified_date'),
      IF(
        activity_text IS NOT NULL AND (last_activity_date IS NULL OR regexp_like(activity_text, ' ')),
        'last_activity_date'
      ),
      IF(last_viewed_date IS NOT NULL, 'last_viewed_date'),
      IF(referenced_text IS NOT NULL AND last_referenced_date IS NULL, 'last_referenced_date')
    ], ', ') AS misfits
  FROM dated
)
SELECT
  CASE
    WHEN layout = 'unknown' OR misfits <> '' THEN 'quarantined'
    WHEN layout = 'straight' THEN 'valid'
    ELSE 'repaired'
  END AS verdict,
  CASE
    WHEN layout = 'unknown' THEN 'no known layout'
    WHEN misfits <> '' THEN concat('does not fit: ', misfits)
  END AS reason,
  layout,
  id,
  is_deleted,
  last_name,
  first_name,
  title,
  company,
  street,
  city,
  state,
  postal_code,
  country,
  phone,
  mobile_phone,
  email,
  website,
  lead_source,
  status,
  is_converted,
  created_date,
  last_modified_date,
  last_activity_date,
  last_referenced_date,
  cells
FROM judged
