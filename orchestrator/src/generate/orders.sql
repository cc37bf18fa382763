CREATE TABLE IF NOT EXISTS address (
  address_id int PRIMARY KEY, address_line_1 text NOT NULL, address_line_2 text, district text, city text NOT NULL,
  postal_code text NOT NULL, country text NOT NULL, phone text NOT NULL,
  created_at timestamp(3) NOT NULL, last_updated timestamp(3) NOT NULL);
CREATE TABLE IF NOT EXISTS counterparty (
  counterparty_id int PRIMARY KEY, counterparty_legal_name text NOT NULL, legal_address_id int NOT NULL REFERENCES address,
  commercial_contact text, delivery_contact text, created_at timestamp(3) NOT NULL, last_updated timestamp(3) NOT NULL);
CREATE TABLE IF NOT EXISTS currency (
  currency_id int PRIMARY KEY, currency_code varchar(3) NOT NULL,
  created_at timestamp(3) NOT NULL, last_updated timestamp(3) NOT NULL);
CREATE TABLE IF NOT EXISTS department (
  department_id int PRIMARY KEY, department_name text NOT NULL, location text, manager text,
  created_at timestamp(3) NOT NULL, last_updated timestamp(3) NOT NULL);
CREATE TABLE IF NOT EXISTS staff (
  staff_id int PRIMARY KEY, first_name text NOT NULL, last_name text NOT NULL, department_id int NOT NULL,
  email_address text NOT NULL, created_at timestamp(3) NOT NULL, last_updated timestamp(3) NOT NULL);
CREATE TABLE IF NOT EXISTS design (
  design_id int PRIMARY KEY, design_name text NOT NULL, file_location text NOT NULL, file_name text NOT NULL,
  created_at timestamp(3) NOT NULL, last_updated timestamp(3) NOT NULL);
CREATE TABLE IF NOT EXISTS payment_type (
  payment_type_id int PRIMARY KEY, payment_type_name text NOT NULL,
  created_at timestamp(3) NOT NULL, last_updated timestamp(3) NOT NULL);
CREATE TABLE IF NOT EXISTS sales_order (
  sales_order_id int PRIMARY KEY, created_at timestamp(3) NOT NULL, last_updated timestamp(3) NOT NULL,
  design_id int NOT NULL REFERENCES design, staff_id int NOT NULL REFERENCES staff,
  counterparty_id int NOT NULL REFERENCES counterparty, units_sold int NOT NULL, unit_price numeric(10, 2) NOT NULL,
  currency_id int NOT NULL REFERENCES currency, agreed_delivery_date varchar(10) NOT NULL,
  agreed_payment_date varchar(10) NOT NULL, agreed_delivery_location_id int NOT NULL REFERENCES address);
CREATE TABLE IF NOT EXISTS purchase_order (
  purchase_order_id int PRIMARY KEY, created_at timestamp(3) NOT NULL, last_updated timestamp(3) NOT NULL,
  staff_id int NOT NULL REFERENCES staff, counterparty_id int NOT NULL REFERENCES counterparty,
  item_code varchar(20) NOT NULL, item_quantity int NOT NULL, item_unit_price numeric(10, 2) NOT NULL,
  currency_id int NOT NULL REFERENCES currency, agreed_delivery_date varchar(10) NOT NULL,
  agreed_payment_date varchar(10) NOT NULL, agreed_delivery_location_id int NOT NULL REFERENCES address);
CREATE TABLE IF NOT EXISTS transaction (
  transaction_id bigint PRIMARY KEY, transaction_type text NOT NULL, sales_order_id int REFERENCES sales_order,
  purchase_order_id int REFERENCES purchase_order, created_at timestamp(3) NOT NULL, last_updated timestamp(3) NOT NULL,
  CHECK ((sales_order_id IS NULL) <> (purchase_order_id IS NULL)));
CREATE TABLE IF NOT EXISTS payment (
  payment_id bigint PRIMARY KEY, created_at timestamp(3) NOT NULL, last_updated timestamp(3) NOT NULL,
  transaction_id bigint NOT NULL REFERENCES transaction, counterparty_id int NOT NULL REFERENCES counterparty,
  payment_amount numeric(10, 2) NOT NULL, currency_id int NOT NULL REFERENCES currency,
  payment_type_id int NOT NULL REFERENCES payment_type, paid boolean NOT NULL, payment_date varchar(10) NOT NULL,
  company_ac_number int NOT NULL, counterparty_ac_number int NOT NULL);
CREATE TABLE IF NOT EXISTS _prisma_migrations (id text PRIMARY KEY, finished_at timestamp);
CREATE INDEX IF NOT EXISTS sales_order_last_updated ON sales_order (last_updated);
CREATE INDEX IF NOT EXISTS purchase_order_last_updated ON purchase_order (last_updated);
CREATE INDEX IF NOT EXISTS transaction_last_updated ON transaction (last_updated);
CREATE INDEX IF NOT EXISTS payment_last_updated ON payment (last_updated);
