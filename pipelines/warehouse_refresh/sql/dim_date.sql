-- The four dates of every order that can come in.
INSERT INTO dim_date
SELECT date_id, extract(year FROM date_id), extract(month FROM date_id), extract(day FROM date_id),
       extract(isodow FROM date_id),
       (ARRAY['Monday', 'Tuesday', 'Wednesday', 'Thursday', 'Friday', 'Saturday', 'Sunday'])[extract(isodow FROM date_id)],
       (ARRAY['January', 'February', 'March', 'April', 'May', 'June', 'July', 'August', 'September', 'October',
              'November', 'December'])[extract(month FROM date_id)],
       extract(quarter FROM date_id)
  FROM (SELECT DISTINCT date_id
          FROM raw.sales_order o
          JOIN rejected_order r ON r.sales_order_id = o.sales_order_id AND r.last_updated = o.last_updated AND r.reason = '',
       LATERAL (VALUES (o.created_at::date), (o.last_updated::date), (raw.as_date(o.agreed_payment_date)),
                       (raw.as_date(o.agreed_delivery_date))) AS dates (date_id)) AS wanted
    ON CONFLICT (date_id) DO NOTHING
