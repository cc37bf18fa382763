-- Every operation with a verdict: `valid`, `repaired` (its cells slid left in the way that is known, and stand in their
-- right columns here) or `quarantined` with the reason. Why that is certain: README.md.
WITH
run AS (
  SELECT CAST(? AS date) AS day
),
read AS (
  SELECT
    ARRAY[
      CAST(operation AS varchar),
      CAST("agency number" AS varchar),
      CAST("operation name" AS varchar),
      CAST(address AS varchar),
      CAST(city AS varchar),
      CAST(state AS varchar),
      CAST(zip AS varchar),
      CAST(county AS varchar),
      CAST(phone AS varchar),
      CAST(type AS varchar),
      CAST(status AS varchar),
      CAST("issue date" AS varchar),
      CAST(capacity AS varchar),
      CAST("email address" AS varchar),
      CAST("facility id" AS varchar),
      CAST("monitoring frequency" AS varchar),
      CAST(infant AS varchar),
      CAST(toddler AS varchar),
      CAST(preschool AS varchar),
      CAST(school AS varchar)
    ] AS cells
  FROM raw_source_3
),
-- The four flags at the end tell how far a row slid.
recognised AS (
  SELECT
    cells,
    CASE
      WHEN element_at(cells, 17) IS NOT NULL AND element_at(cells, 20) IN ('Y', 'N') THEN 'straight'
      WHEN element_at(cells, 15) IN ('Y', 'N') AND element_at(cells, 18) IN ('Y', 'N')
        AND element_at(cells, 11) IS NULL AND element_at(cells, 12) IS NULL AND element_at(cells, 14) IS NULL
        AND element_at(cells, 19) IS NULL AND element_at(cells, 20) IS NULL
        THEN 'two left'
      ELSE 'unknown'
    END AS layout
  FROM read
),
slid AS (
  SELECT cells, layout, IF(layout = 'two left', 2, 0) AS places
  FROM recognised
),
aligned AS (
  SELECT
    cells,
    layout,
    element_at(cells, 1) AS operation,
    element_at(cells, 3) AS operation_name,
    element_at(cells, 4) AS address,
    element_at(cells, 5) AS city,
    element_at(cells, 6) AS state,
    element_at(cells, 7) AS zip,
    element_at(cells, 8) AS county,
    element_at(cells, 9) AS phone,
    element_at(cells, 10) AS type,
    -- Two left, these four are empty however the row slid.
    IF(layout = 'straight', element_at(cells, 11)) AS status,
    IF(layout = 'straight', element_at(cells, 12)) AS issued_text,
    IF(layout = 'straight', element_at(cells, 13)) AS capacity,
    IF(layout = 'straight', element_at(cells, 14)) AS email_address,
    element_at(cells, 15 - places) AS facility_id,
    element_at(cells, 17 - places) AS infant,
    element_at(cells, 18 - places) AS toddler,
    element_at(cells, 19 - places) AS preschool,
    element_at(cells, 20 - places) AS school
  FROM slid
),
-- `9/4/21`; what is no day of the calendar is null.
dated AS (
  SELECT
    *,
    TRY_CAST(concat(
      '20', regexp_extract(issued_text, '^[0-9]+/[0-9]+/([0-9]{2})( [0-9]{1,2}:[0-9]{2})?$', 1),
      '-', lpad(regexp_extract(issued_text, '^([0-9]{1,2})/', 1), 2, '0'),
      '-', lpad(regexp_extract(issued_text, '/([0-9]{1,2})/', 1), 2, '0')
    ) AS date) AS issue_date
  FROM aligned
),
judged AS (
  SELECT
    *,
    array_join(ARRAY[
      IF(operation IS NULL OR NOT regexp_like(operation, '^[0-9]{1,18}$'), 'operation'),
      IF(coalesce(operation_name, '') = '', 'operation name'),
      IF(state IS NULL OR NOT regexp_like(state, '^[A-Z]{2}$'), 'state'),
      IF(NOT regexp_like(zip, '^[0-9]{5}$'), 'zip'),
      IF(NOT regexp_like(phone, '^[0-9]{3}-[0-9]{3}-[0-9]{4}$'), 'phone'),
      IF(type IS NULL OR NOT regexp_like(type, '^Licensed '), 'type'),
      IF(NOT regexp_like(status, '^[A-Za-z][A-Za-z -]*$'), 'status'),
      IF(issued_text IS NOT NULL AND issue_date IS NULL, 'issue date'),
      IF(NOT regexp_like(capacity, '^[0-9]{1,9}$'), 'capacity'),
      IF(NOT regexp_like(facility_id, '^[0-9]+$'), 'facility id'),
      IF(infant IS NULL OR infant NOT IN ('Y', 'N'), 'infant'),
      IF(toddler IS NULL OR toddler NOT IN ('Y', 'N'), 'toddler'),
      IF(preschool IS NULL OR preschool NOT IN ('Y', 'N'), 'preschool'),
      IF(school IS NULL OR school NOT IN ('Y', 'N'), 'school')
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
  operation,
  operation_name,
  address,
  city,
  state,
  zip,
  county,
  phone,
  type,
  status,
  -- Years have two digits: the one that is at most 19 years after the run's date.
  CASE
    WHEN issue_date > date_add('year', 19, run.day) THEN date_add('year', -100, issue_date)
    ELSE issue_date
  END AS issue_date,
  capacity,
  email_address,
  facility_id,
  infant,
  toddler,
  preschool,
  school,
  cells
FROM judged
CROSS JOIN run
