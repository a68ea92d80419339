-- split: the last purchase of three or more is the test, the one before the validation
--
-- grain: one row a fault.

SELECT format('user {} position {} of {} is {}', user_id, position, length, split) AS fault
FROM interactions JOIN sequences USING (user_id)
WHERE split IS DISTINCT FROM
    CASE WHEN length >= 3 AND position = length THEN 'test'
         WHEN length >= 3 AND position = length - 1 THEN 'valid'
         ELSE 'train' END;
