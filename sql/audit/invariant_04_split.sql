-- split: the last purchase of three or more is for test, the one before it for validation
--
-- grain: one row per fault.

SELECT format('user {} position {} of {} is {}', user_id, position, length, split) AS fault
FROM interactions JOIN sequences USING (user_id)
WHERE split IS DISTINCT FROM
    CASE WHEN length >= 3 AND position = length THEN 'test'
         WHEN length >= 3 AND position = length - 1 THEN 'valid'
         ELSE 'train' END;
