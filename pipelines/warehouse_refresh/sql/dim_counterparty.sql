-- From the addresses as they are now: a counterparty follows an address that changes.
INSERT INTO dim_counterparty AS dim
SELECT counterparty_id, counterparty_legal_name, address_line_1, address_line_2, district, city, postal_code, country, phone
  FROM raw.counterparty JOIN raw.address ON address_id = legal_address_id
    ON CONFLICT (counterparty_id) DO UPDATE
   SET (counterparty_legal_name, counterparty_legal_address_line_1, counterparty_legal_address_line_2,
        counterparty_legal_district, counterparty_legal_city, counterparty_legal_postal_code, counterparty_legal_country,
        counterparty_legal_phone_number)
     = (excluded.counterparty_legal_name, excluded.counterparty_legal_address_line_1,
        excluded.counterparty_legal_address_line_2, excluded.counterparty_legal_district, excluded.counterparty_legal_city,
        excluded.counterparty_legal_postal_code, excluded.counterparty_legal_country,
        excluded.counterparty_legal_phone_number)
 WHERE (dim.*) IS DISTINCT FROM (excluded.*)
