-- order: numbers and ties follow the manifest's protocol and seed
--
-- grain: one row per fault.
--   clean   users and products by keyed hash, purchases of the same time too;
--   pod     products by first appearance along the users' sequences. (The order of users and of
--           ties is that of the dump, which only verify --rebuild can check.)
-- in: key(), see build/00_draws.sql. An import with a split of its own orders ties within it.

WITH placed AS (
    SELECT 'user' AS kind, user_id AS id,
        row_number() OVER (ORDER BY key('user', reviewer_id, NULL)) AS place
    FROM users, options
    WHERE protocol = 'clean'
    UNION ALL
    SELECT 'item', item_id, row_number() OVER (ORDER BY key('item', asin, NULL))
    FROM items, options
    WHERE protocol = 'clean'
    UNION ALL
    SELECT 'item', item_id, row_number() OVER (ORDER BY min(user_id * 4294967296 + position))
    FROM interactions, options
    WHERE protocol = 'pod' AND NOT imported
    GROUP BY item_id
), ties AS (
    SELECT user_id, position, timestamp, split, key('tie', reviewer_id, asin) AS tie
    FROM interactions JOIN users USING (user_id) JOIN items USING (item_id), options
    WHERE protocol = 'clean' AND tied
), neighbours AS (
    SELECT *, lag(tie) OVER w AS before
    FROM ties, options
    WINDOW w AS (PARTITION BY user_id, timestamp, CASE WHEN imported THEN split END
                 ORDER BY position)
)
SELECT format('{} {} should have number {}', kind, id, place) AS fault
FROM placed
WHERE id <> place
UNION ALL
SELECT format('user {} position {} should come earlier among its ties', user_id, position)
FROM neighbours
WHERE tie < before;
