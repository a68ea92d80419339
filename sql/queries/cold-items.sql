-- Which items were never bought in training?
-- One row per item that a model has seen as a negative only; valid and test count the users
-- to whom it should be recommended all the same.

SELECT items.*,
    count(*) FILTER (WHERE split = 'valid') AS valid,
    count(*) FILTER (WHERE split = 'test') AS test
FROM items JOIN interactions USING (item_id)
GROUP BY ALL
HAVING count(*) FILTER (WHERE split = 'train') = 0
ORDER BY test DESC, valid DESC, item_id;
