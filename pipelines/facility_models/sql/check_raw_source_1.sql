-- Every licence with a verdict: `valid`, or `quarantined` with the reason. The cells of this file stay in their places;
-- where they did not, no column can be trusted.
WITH
run AS (
  SELECT CAST(? AS date) AS day
),
read AS (
  SELECT
    ARRAY[
      CAST(name AS varchar),
      CAST("credential type" AS varchar),
      CAST("credential number" AS varchar),
      CAST(status AS varchar),
      CAST("expiration date" AS varchar),
      CAST("disciplinary action" AS varchar),
      CAST(address AS varchar),
      CAST(state AS varchar),
      CAST(county AS varchar),
      CAST(phone AS varchar),
      CAST("first issue date" AS varchar),
      CAST("primary contact name" AS varchar),
      CAST("primary contact role" AS varchar)
    ] AS cells
  FROM raw_source_1
),
aligned AS (
  SELECT
    cells,
    'straight' AS layout,
    element_at(cells, 1) AS name,
    element_at(cells, 2) AS credential_type,
    element_at(cells, 3) AS credential_number,
    element_at(cells, 4) AS status,
    element_at(cells, 5) AS expiration_text,
    element_at(cells, 6) AS disciplinary_action,
    element_at(cells, 7) AS address,
    element_at(cells, 8) AS state,
    element_at(cells, 9) AS county,
    element_at(cells, 10) AS phone,
    element_at(cells, 11) AS issued_text,
    element_at(cells, 12) AS primary_contact_name,
    element_at(cells, 13) AS primary_contact_role
  FROM read
),
-- `9/4/21`; what is no day of the calendar is null.
dated AS (
  SELECT
    *,
    TRY_CAST(concat(
      '20', regexp_extract(expiration_text, '^[0-9]+/[0-9]+/([0-9]{2})( [0-9]{1,2}:[0-9]{2})?$', 1),
      '-', lpad(regexp_extract(expiration_text, '^([0-9]{1,2})/', 1), 2, '0'),
      '-', lpad(regexp_extract(expiration_text, '/([0-9]{1,2})/', 1), 2, '0')
    ) AS date) AS expiration_date,
    TRY_CAST(concat(
      '20', regexp_extract(issued_text, '^[0-9]+/[0-9]+/([0-9]{2})( [0-9]{1,2}:[0-9]{2})?$', 1),
      '-', lpad(regexp_extract(issued_text, '^([0-9]{1,2})/', 1), 2, '0'),
      '-', lpad(regexp_extract(issued_text, '/([0-9]{1,2})/', 1), 2, '0')
    ) AS date) AS first_issue_date
  FROM aligned
),
judged AS (
  SELECT
    *,
    array_join(ARRAY[
      IF(coalesce(name, '') = '', 'name'),
      IF(coalesce(credential_type, '') = '', 'credential type'),
      IF(credential_number IS NULL OR NOT regexp_like(credential_number, '^[0-9]{3,6}-[0-9]{2}$'), 'credential number'),
      IF(status IS NULL OR NOT regexp_like(status, '^[A-Za-z][A-Za-z -]*$'), 'status'),
      IF(expiration_text IS NOT NULL AND expiration_date IS NULL, 'expiration date'),
      IF(disciplinary_action NOT IN ('Y', 'N'), 'disciplinary action'),
      IF(state IS NULL OR NOT regexp_like(state, '^[A-Z]{2}$'), 'state'),
      IF(NOT regexp_like(phone, '^[0-9]{3}-[0-9]{3}-[0-9]{4}$'), 'phone'),
      IF(issued_text IS NOT NULL AND first_issue_date IS NULL, 'first issue date'),
      -- Without it, the name may be the role, slid.
      IF(primary_contact_name IS NOT NULL AND primary_contact_role IS NULL, 'primary contact role')
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
  name,
  credential_type,
  credential_number,
  status,
  -- Years have two digits: the one that is at most 19 years after the run's date.
  CASE
    WHEN expiration_date > date_add('year', 19, run.day) THEN date_add('year', -100, expiration_date)
    ELSE expiration_date
  END AS expiration_date,
  disciplinary_action,
  address,
  state,
  county,
  phone,
  CASE
    WHEN first_issue_date > date_add('year', 19, run.day) THEN date_add('year', -100, first_issue_date)
    ELSE first_issue_date
  END AS first_issue_date,
  primary_contact_name,
  primary_contact_role,
  cells
FROM judged
CROSS JOIN run
