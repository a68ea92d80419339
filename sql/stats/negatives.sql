-- One row per tenth of the items, from the least bought in training to the most: what share of the
-- test candidates and of the test purchases lies in it. Uniform negatives put a tenth in each.

WITH bought AS (
    SELECT item_id, count(user_id) FILTER (WHERE split = 'train') AS purchases
    FROM items LEFT JOIN interactions USING (item_id)
    GROUP BY item_id
), tenths AS (
    SELECT item_id, purchases, ntile(10) OVER (ORDER BY purchases, item_id) AS tenth FROM bought
), candidates AS (
    SELECT item_id, count(*) AS n
    FROM (SELECT unnest(item_ids) AS item_id FROM negatives WHERE split = 'test')
    GROUP BY item_id
), tested AS (
    SELECT item_id, count(*) AS n FROM interactions WHERE split = 'test' GROUP BY item_id
)
SELECT tenth, min(purchases) AS fewest_purchases, max(purchases) AS most_purchases,
    coalesce(sum(candidates.n), 0) / (SELECT sum(n) FROM candidates) AS negatives,
    coalesce(sum(tested.n), 0) / (SELECT sum(n) FROM tested) AS positives
FROM tenths LEFT JOIN candidates USING (item_id) LEFT JOIN tested USING (item_id)
GROUP BY tenth
ORDER BY tenth;
