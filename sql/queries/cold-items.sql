-- Which items were never bought in training?
-- One row an item that a model can only have met as a negative; valid and test count the users
-- who are to be recommended it all the same.

SELECT items.*,
    count(*) FILTER (WHERE split = 'valid') AS valid,
    count(*) FILTER (WHERE split = 'test') AS test
FROM items JOIN interactions USING (item_id)
GROUP BY ALL
HAVING count(*) FILTER (WHERE split = 'train') = 0
ORDER BY test DESC, valid DESC, item_id;
