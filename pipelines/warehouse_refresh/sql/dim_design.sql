INSERT INTO dim_design AS dim
SELECT design_id, design_name, file_location, file_name
  FROM raw.design
    ON CONFLICT (design_id) DO UPDATE
   SET (design_name, file_location, file_name) = (excluded.design_name, excluded.file_location, excluded.file_name)
 WHERE (dim.*) IS DISTINCT FROM (excluded.*)
