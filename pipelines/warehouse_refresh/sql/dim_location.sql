INSERT INTO dim_location AS dim
SELECT address_id, address_line_1, address_line_2, district, city, postal_code, country, phone
  FROM raw.address
    ON CONFLICT (location_id) DO UPDATE
   SET (address_line_1, address_line_2, district, city, postal_code, country, phone)
     = (excluded.address_line_1, excluded.address_line_2, excluded.district, excluded.city, excluded.postal_code,
        excluded.country, excluded.phone)
 WHERE (dim.*) IS DISTINCT FROM (excluded.*)
