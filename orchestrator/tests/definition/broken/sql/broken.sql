SELECT *
FROM calls
WHERE day = '{{ dss }}'
