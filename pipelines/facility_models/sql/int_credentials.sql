-- Licences of source_1. The number stays a text: as a number, `007-23` would be 723 for ever.
SELECT
  name AS licensee_name,
  credential_number AS license_number,
  status AS license_status,
  first_issue_date AS license_issued_date,
  expiration_date AS license_expiration_date,
  credential_type AS license_type,
  disciplinary_action,
  address,
  state,
  county,
  phone,
  primary_contact_name,
  primary_contact_role,
  CAST(? AS date) AS ingestion_date_utc
FROM checked_source_1
WHERE verdict <> 'quarantined'
