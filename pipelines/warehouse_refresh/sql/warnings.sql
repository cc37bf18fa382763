SELECT format('staff_id %s: %s', staff_id, reason) FROM rejected_staff
 UNION ALL
SELECT format('currency_id %s: the code %s has no name in sql/dim_currency.sql', currency_id, currency_code)
  FROM dim_currency WHERE currency_name = currency_code
 UNION ALL
SELECT format('%s orders are held back (%s); look into rejected_order', count(*), string_agg(DISTINCT reason, '; '))
  FROM rejected_order HAVING count(*) > 0
