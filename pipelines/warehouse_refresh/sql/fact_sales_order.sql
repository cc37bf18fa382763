-- Versions of orders that are not in yet and that nothing holds back.
INSERT INTO fact_sales_order (sales_order_id, created_date, created_time, last_updated_date, last_updated_time,
       sales_staff_id, counterparty_id, units_sold, unit_price, currency_id, design_id, agreed_payment_date,
       agreed_delivery_date, agreed_delivery_location_id, source_last_updated)
SELECT o.sales_order_id, created_at::date, date_trunc('second', created_at)::time, o.last_updated::date,
       date_trunc('second', o.last_updated)::time, staff_id, counterparty_id, units_sold, unit_price, currency_id, design_id,
       raw.as_date(agreed_payment_date), raw.as_date(agreed_delivery_date), agreed_delivery_location_id, o.last_updated
  FROM raw.sales_order o
  JOIN rejected_order r ON r.sales_order_id = o.sales_order_id AND r.last_updated = o.last_updated AND r.reason = ''
 ORDER BY o.last_updated, o.sales_order_id
