-- Who is in no department is held back: the view rejected_staff says who.
INSERT INTO dim_staff AS dim
SELECT staff_id, first_name, last_name, department_name, location, email_address
  FROM raw.staff JOIN raw.department USING (department_id)
 WHERE location IS NOT NULL
    ON CONFLICT (staff_id) DO UPDATE
   SET (first_name, last_name, department_name, location, email_address)
     = (excluded.first_name, excluded.last_name, excluded.department_name, excluded.location, excluded.email_address)
 WHERE (dim.*) IS DISTINCT FROM (excluded.*)
