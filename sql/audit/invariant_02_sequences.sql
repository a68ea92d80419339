-- sequences: positions count 1, 2, ... in order of time, `tied` is right, nothing is repeated
--
-- grain: one row per fault. A product occurs twice in a sequence only with --duplicates all.
-- What an import did not know is NULL, and its order is that of the import.

WITH placed AS (
    SELECT *, row_number() OVER w AS place,
        lag(timestamp) OVER w AS before, lead(timestamp) OVER w AS after
    FROM interactions
    WINDOW w AS (PARTITION BY user_id ORDER BY position)
)
SELECT format('user {} position {} is where {} should be', user_id, position, place) AS fault
FROM placed
WHERE position IS DISTINCT FROM place
UNION ALL
SELECT format('user {} position {} is earlier than the one before', user_id, position)
FROM placed, options
WHERE NOT imported AND timestamp < before
UNION ALL
SELECT format('user {} position {} has tied = {}', user_id, position, coalesce(tied::VARCHAR, 'NULL'))
FROM placed
WHERE timestamp IS NOT NULL AND tied IS DISTINCT FROM
    (coalesce(timestamp = before, false) OR coalesce(timestamp = after, false))
UNION ALL
SELECT format('user {} position {} has no {}', user_id, position,
    CASE WHEN timestamp IS NULL THEN 'time' ELSE 'rating of 0 to 5' END)
FROM placed, options
WHERE NOT imported AND (timestamp IS NULL OR rating IS NULL OR rating NOT BETWEEN 0 AND 5)
UNION ALL
SELECT format('user {} bought item {} {} times', user_id, item_id, count(*))
FROM interactions, options
WHERE duplicates <> 'all'
GROUP BY user_id, item_id
HAVING count(*) > 1
UNION ALL
SELECT format('user {} item {} is not in the catalogue', user_id, item_id)
FROM interactions
WHERE user_id NOT IN (SELECT user_id FROM users) OR item_id NOT IN (SELECT item_id FROM items);
