-- What the refresh writes into. One statement, which looks once where all of it is there: who changes something below
-- counts the version up, in both places.
DO $$
BEGIN
  IF obj_description(to_regnamespace('raw')::oid, 'pg_namespace') = 'warehouse_refresh 1' THEN
    RETURN;
  END IF;

  CREATE SCHEMA IF NOT EXISTS raw;

  -- As in the source, each row as it was last seen; of sales orders every version.
  CREATE TABLE IF NOT EXISTS raw.address (
    address_id int PRIMARY KEY, address_line_1 text, address_line_2 text, district text, city text, postal_code text,
    country text, phone text, created_at timestamp, last_updated timestamp);
  CREATE TABLE IF NOT EXISTS raw.counterparty (
    counterparty_id int PRIMARY KEY, counterparty_legal_name text, legal_address_id int, commercial_contact text,
    delivery_contact text, created_at timestamp, last_updated timestamp);
  CREATE TABLE IF NOT EXISTS raw.currency (
    currency_id int PRIMARY KEY, currency_code text, created_at timestamp, last_updated timestamp);
  CREATE TABLE IF NOT EXISTS raw.department (
    department_id int PRIMARY KEY, department_name text, location text, manager text, created_at timestamp,
    last_updated timestamp);
  CREATE TABLE IF NOT EXISTS raw.design (
    design_id int PRIMARY KEY, design_name text, file_location text, file_name text, created_at timestamp,
    last_updated timestamp);
  CREATE TABLE IF NOT EXISTS raw.payment (
    payment_id bigint PRIMARY KEY, created_at timestamp, last_updated timestamp, transaction_id bigint,
    counterparty_id int, payment_amount numeric(10, 2), currency_id int, payment_type_id int, paid boolean,
    payment_date text, company_ac_number int, counterparty_ac_number int);
  CREATE TABLE IF NOT EXISTS raw.payment_type (
    payment_type_id int PRIMARY KEY, payment_type_name text, created_at timestamp, last_updated timestamp);
  CREATE TABLE IF NOT EXISTS raw.purchase_order (
    purchase_order_id int PRIMARY KEY, created_at timestamp, last_updated timestamp, staff_id int, counterparty_id int,
    item_code text, item_quantity int, item_unit_price numeric(10, 2), currency_id int, agreed_delivery_date text,
    agreed_payment_date text, agreed_delivery_location_id int);
  CREATE TABLE IF NOT EXISTS raw.sales_order (
    sales_order_id int, created_at timestamp, last_updated timestamp, design_id int, staff_id int, counterparty_id int,
    units_sold int, unit_price numeric(10, 2), currency_id int, agreed_delivery_date text, agreed_payment_date text,
    agreed_delivery_location_id int, PRIMARY KEY (sales_order_id, last_updated));
  CREATE TABLE IF NOT EXISTS raw.staff (
    staff_id int PRIMARY KEY, first_name text, last_name text, department_id int, email_address text,
    created_at timestamp, last_updated timestamp);
  CREATE TABLE IF NOT EXISTS raw.transaction (
    transaction_id bigint PRIMARY KEY, transaction_type text, sales_order_id int, purchase_order_id int,
    created_at timestamp, last_updated timestamp);

  -- The star.
  CREATE TABLE IF NOT EXISTS dim_date (
    date_id date PRIMARY KEY, year int NOT NULL, month int NOT NULL, day int NOT NULL, day_of_week int NOT NULL,
    day_name text NOT NULL, month_name text NOT NULL, quarter int NOT NULL);
  CREATE TABLE IF NOT EXISTS dim_location (
    location_id int PRIMARY KEY, address_line_1 text NOT NULL, address_line_2 text, district text, city text NOT NULL,
    postal_code text NOT NULL, country text NOT NULL, phone text NOT NULL);
  CREATE TABLE IF NOT EXISTS dim_staff (
    staff_id int PRIMARY KEY, first_name text NOT NULL, last_name text NOT NULL, department_name text NOT NULL,
    location text NOT NULL, email_address text NOT NULL);
  CREATE TABLE IF NOT EXISTS dim_design (
    design_id int PRIMARY KEY, design_name text NOT NULL, file_location text NOT NULL, file_name text NOT NULL);
  CREATE TABLE IF NOT EXISTS dim_currency (
    currency_id int PRIMARY KEY, currency_code text NOT NULL, currency_name text NOT NULL);
  CREATE TABLE IF NOT EXISTS dim_counterparty (
    counterparty_id int PRIMARY KEY, counterparty_legal_name text NOT NULL,
    counterparty_legal_address_line_1 text NOT NULL, counterparty_legal_address_line_2 text,
    counterparty_legal_district text, counterparty_legal_city text NOT NULL, counterparty_legal_postal_code text NOT NULL,
    counterparty_legal_country text NOT NULL, counterparty_legal_phone_number text NOT NULL);
  CREATE TABLE IF NOT EXISTS fact_sales_order (
    sales_record_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, sales_order_id int NOT NULL,
    created_date date NOT NULL REFERENCES dim_date, created_time time NOT NULL,
    last_updated_date date NOT NULL REFERENCES dim_date, last_updated_time time NOT NULL,
    sales_staff_id int NOT NULL REFERENCES dim_staff, counterparty_id int NOT NULL REFERENCES dim_counterparty,
    units_sold int NOT NULL, unit_price numeric(10, 2) NOT NULL, currency_id int NOT NULL REFERENCES dim_currency,
    design_id int NOT NULL REFERENCES dim_design, agreed_payment_date date NOT NULL REFERENCES dim_date,
    agreed_delivery_date date NOT NULL REFERENCES dim_date,
    agreed_delivery_location_id int NOT NULL REFERENCES dim_location,
    -- Which version of the order it is, to the millisecond: no version comes in twice.
    source_last_updated timestamp NOT NULL, UNIQUE (sales_order_id, source_last_updated));

  -- A date that the calendar has, or nothing: the source keeps dates as text.
  CREATE OR REPLACE FUNCTION raw.as_date(written text) RETURNS date LANGUAGE plpgsql IMMUTABLE AS $function$
  BEGIN
    RETURN CASE WHEN written ~ '^\d{4}-\d{2}-\d{2}$' THEN written::date END;
  EXCEPTION WHEN datetime_field_overflow OR invalid_datetime_format THEN
    RETURN NULL;
  END $function$;

  -- What waits outside, and why. A row comes in by itself once its reason is gone.
  CREATE OR REPLACE VIEW rejected_staff AS
    SELECT s.staff_id, 'no valid department_id: ' || coalesce(s.department_id::text, 'none') AS reason
      FROM raw.staff s LEFT JOIN raw.department d USING (department_id)
     WHERE d.department_id IS NULL OR d.location IS NULL;
  CREATE OR REPLACE VIEW rejected_order AS
    SELECT o.sales_order_id, o.last_updated,
           concat_ws('; ',
             CASE WHEN raw.as_date(o.agreed_delivery_date) IS NULL
                  THEN 'agreed_delivery_date is no date: ' || coalesce(o.agreed_delivery_date, 'none') END,
             CASE WHEN raw.as_date(o.agreed_payment_date) IS NULL
                  THEN 'agreed_payment_date is no date: ' || coalesce(o.agreed_payment_date, 'none') END,
             CASE WHEN s.staff_id IS NULL THEN 'staff_id is not in dim_staff: ' || o.staff_id END,
             CASE WHEN c.counterparty_id IS NULL THEN 'counterparty_id is not in dim_counterparty: ' || o.counterparty_id END,
             CASE WHEN y.currency_id IS NULL THEN 'currency_id is not in dim_currency: ' || o.currency_id END,
             CASE WHEN d.design_id IS NULL THEN 'design_id is not in dim_design: ' || o.design_id END,
             CASE WHEN l.location_id IS NULL
                  THEN 'agreed_delivery_location_id is not in dim_location: ' || o.agreed_delivery_location_id END
           ) AS reason
      FROM raw.sales_order o
      LEFT JOIN fact_sales_order f ON f.sales_order_id = o.sales_order_id AND f.source_last_updated = o.last_updated
      LEFT JOIN dim_staff s ON s.staff_id = o.staff_id
      LEFT JOIN dim_counterparty c ON c.counterparty_id = o.counterparty_id
      LEFT JOIN dim_currency y ON y.currency_id = o.currency_id
      LEFT JOIN dim_design d ON d.design_id = o.design_id
      LEFT JOIN dim_location l ON l.location_id = o.agreed_delivery_location_id
     WHERE f.sales_order_id IS NULL;

  COMMENT ON SCHEMA raw IS 'warehouse_refresh 1';
END $$
