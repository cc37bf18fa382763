-- Every row with a verdict: `valid`, `repaired` (its cells slid left in a way that is known, and stand in their right
-- columns here) or `quarantined` with the reason. Which ways are known and why they are certain: README.md.
WITH
read AS (
  SELECT
    ARRAY[
      CAST("type license" AS varchar),
      CAST(company AS varchar),
      CAST("accepts subsidy" AS varchar),
      CAST("year round" AS varchar),
      CAST("daytime hours" AS varchar),
      CAST("star level" AS varchar),
      CAST(mon AS varchar),
      CAST(tues AS varchar),
      CAST(wed AS varchar),
      CAST(thurs AS varchar),
      CAST(friday AS varchar),
      CAST(saturday AS varchar),
      CAST(sunday AS varchar),
      CAST("primary caregiver" AS varchar),
      CAST(phone AS varchar),
      CAST(email AS varchar),
      CAST(address1 AS varchar),
      CAST(address2 AS varchar),
      CAST(city AS varchar),
      CAST(state AS varchar),
      CAST(zip AS varchar),
      CAST("subsidy contract number" AS varchar),
      CAST("total cap" AS varchar),
      CAST("ages accepted 1" AS varchar),
      CAST(aa2 AS varchar),
      CAST(aa3 AS varchar),
      CAST(aa4 AS varchar),
      CAST("license monitoring since" AS varchar),
      CAST("school year only" AS varchar),
      CAST("evening hours" AS varchar)
    ] AS cells
  FROM raw_source_2
),
-- The seven days where they stand if nothing slid in front of them, and if one cell did (null if a day is empty); and the
-- cells beside them.
weeks AS (
  SELECT
    cells,
    concat(
      element_at(cells, 7), '|', element_at(cells, 8), '|', element_at(cells, 9), '|', element_at(cells, 10), '|',
      element_at(cells, 11), '|', element_at(cells, 12), '|', element_at(cells, 13), '|'
    ) AS from_seventh,
    concat('|', coalesce(element_at(cells, 6), ''), '|', coalesce(element_at(cells, 14), ''), '|') AS beside_seventh,
    concat(
      element_at(cells, 6), '|', element_at(cells, 7), '|', element_at(cells, 8), '|', element_at(cells, 9), '|',
      element_at(cells, 10), '|', element_at(cells, 11), '|', element_at(cells, 12), '|'
    ) AS from_sixth,
    concat('|', coalesce(element_at(cells, 5), ''), '|', coalesce(element_at(cells, 13), ''), '|') AS beside_sixth
  FROM read
),
-- Where the week's hours begin (eight in a row could be either), and where a state is followed by its postal code.
found AS (
  SELECT
    cells,
    upper(element_at(cells, 3)) AS third,
    coalesce(upper(element_at(cells, 4)), '') AS fourth,
    CASE
      WHEN regexp_like(from_seventh, '^((CLOSED|[0-9]{1,2}:[0-9]{2}[AP]M - [0-9]{1,2}:[0-9]{2}[AP]M)[|]){7}$')
        AND NOT regexp_like(beside_seventh, '[|](CLOSED|[0-9]{1,2}:[0-9]{2}[AP]M - [0-9]{1,2}:[0-9]{2}[AP]M)[|]')
        THEN 7
      WHEN regexp_like(from_sixth, '^((CLOSED|[0-9]{1,2}:[0-9]{2}[AP]M - [0-9]{1,2}:[0-9]{2}[AP]M)[|]){7}$')
        AND NOT regexp_like(beside_sixth, '[|](CLOSED|[0-9]{1,2}:[0-9]{2}[AP]M - [0-9]{1,2}:[0-9]{2}[AP]M)[|]')
        THEN 6
      ELSE 0
    END AS hours_at,
    CASE
      WHEN regexp_like(element_at(cells, 20), '^[A-Z]{2}$')
        AND regexp_like(element_at(cells, 21), '^[0-9]{5}(-[0-9]{4})?$') THEN 20
      WHEN regexp_like(element_at(cells, 19), '^[A-Z]{2}$')
        AND regexp_like(element_at(cells, 20), '^[0-9]{5}(-[0-9]{4})?$') THEN 19
      WHEN regexp_like(element_at(cells, 18), '^[A-Z]{2}$')
        AND regexp_like(element_at(cells, 19), '^[0-9]{5}(-[0-9]{4})?$') THEN 18
      ELSE 0
    END AS state_at,
    -- As many cells as slid away are missing at the end.
    CASE
      WHEN element_at(cells, 30) IS NOT NULL THEN 0
      WHEN element_at(cells, 29) IS NOT NULL THEN 1
      ELSE 2
    END AS missing
  FROM weeks
),
-- Which of subsidy and year round is missing is said by the one that is there.
recognised AS (
  SELECT
    *,
    CASE
      WHEN hours_at = 7 AND state_at = 20 THEN 'straight'
      WHEN hours_at = 7 AND state_at = 19 AND missing >= 1 THEN 'no address2'
      WHEN hours_at = 6 AND state_at = 18 AND missing = 2 AND third = 'YEAR ROUND' THEN 'no subsidy, no address2'
      WHEN hours_at = 6 AND state_at = 18 AND missing = 2 AND third = 'ACCEPTS SUBSIDY' AND fourth <> 'YEAR ROUND'
        THEN 'no year round, no address2'
      WHEN hours_at = 6 AND state_at = 19 AND missing >= 1 AND third = 'YEAR ROUND' THEN 'no subsidy'
      WHEN hours_at = 6 AND state_at = 19 AND missing >= 1 AND third = 'ACCEPTS SUBSIDY' AND fourth <> 'YEAR ROUND'
        THEN 'no year round'
      ELSE 'unknown'
    END AS layout
  FROM found
),
-- How many places to the left the cells stand, from the first hours and from the city on.
slid AS (
  SELECT
    cells,
    layout,
    IF(hours_at = 6, 1, 0) AS from_hours,
    IF(state_at = 0, 0, 20 - state_at) AS from_city
  FROM recognised
),
aligned AS (
  SELECT
    cells,
    layout,
    element_at(cells, 1) AS type_license,
    element_at(cells, 2) AS company,
    IF(layout NOT LIKE 'no subsidy%', element_at(cells, 3)) AS accepts_subsidy,
    CASE
      WHEN layout LIKE 'no subsidy%' THEN element_at(cells, 3)
      WHEN layout NOT LIKE 'no year round%' THEN element_at(cells, 4)
    END AS year_round,
    element_at(cells, 5 - from_hours) AS daytime_hours,
    element_at(cells, 6 - from_hours) AS star_level,
    element_at(cells, 7 - from_hours) AS mon,
    element_at(cells, 8 - from_hours) AS tues,
    element_at(cells, 9 - from_hours) AS wed,
    element_at(cells, 10 - from_hours) AS thurs,
    element_at(cells, 11 - from_hours) AS friday,
    element_at(cells, 12 - from_hours) AS saturday,
    element_at(cells, 13 - from_hours) AS sunday,
    element_at(cells, 14 - from_hours) AS primary_caregiver,
    element_at(cells, 15 - from_hours) AS phone,
    element_at(cells, 16 - from_hours) AS email,
    element_at(cells, 17 - from_hours) AS address1,
    IF(from_city = from_hours, element_at(cells, 18 - from_hours)) AS address2,
    element_at(cells, 19 - from_city) AS city,
    element_at(cells, 20 - from_city) AS state,
    element_at(cells, 21 - from_city) AS zip,
    element_at(cells, 22 - from_city) AS subsidy_contract_number,
    element_at(cells, 23 - from_city) AS total_cap,
    element_at(cells, 24 - from_city) AS ages_accepted_1
  FROM slid
),
judged AS (
  SELECT
    *,
    array_join(ARRAY[
      IF(type_license IS NULL OR NOT regexp_like(type_license, '^[A-Z].* - [A-Z]?[0-9]+$'), 'type license'),
      IF(upper(coalesce(company, '')) IN ('', 'ACCEPTS SUBSIDY', 'YEAR ROUND'), 'company'),
      IF(upper(accepts_subsidy) <> 'ACCEPTS SUBSIDY', 'accepts subsidy'),
      IF(upper(year_round) <> 'YEAR ROUND', 'year round'),
      IF(NOT regexp_like(phone, '^[(][0-9]{3}[)] [0-9]{3}-[0-9]{4}$'), 'phone'),
      IF(NOT email LIKE '%@%', 'email'),
      IF(address1 IS NULL OR NOT regexp_like(upper(address1), '^([0-9]|P[.]?O[.]? ?BOX|R[RT] |HC )'), 'address1'),
      IF(city IS NULL OR NOT regexp_like(city, '^[^0-9]+$'), 'city'),
      IF(NOT regexp_like(subsidy_contract_number, '^Subsidy Contract Number: '), 'subsidy contract number'),
      IF(NOT regexp_like(total_cap, '^[0-9]{1,9}$'), 'total cap'),
      IF(NOT regexp_like(ages_accepted_1, '^[A-Za-z-]+ [(].*[)]$'), 'ages accepted 1')
    ], ', ') AS misfits
  FROM aligned
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
  type_license,
  company,
  accepts_subsidy,
  year_round,
  daytime_hours,
  star_level,
  mon,
  tues,
  wed,
  thurs,
  friday,
  saturday,
  sunday,
  primary_caregiver,
  phone,
  email,
  address1,
  address2,
  city,
  state,
  zip,
  subsidy_contract_number,
  total_cap,
  ages_accepted_1,
  cells
FROM judged
