-- Do training negatives avoid the user's own validation and test items?
-- One row per held-out split. ratio near 1: a held-out item is a negative as often as by chance;
-- 0: it never is, and a model can learn the answer from what is missing (the published way).

WITH drawn AS (
    SELECT user_id, candidates, len(candidates) - 1 AS negatives
    FROM samples
    WHERE task = 'topn' AND split = 'train'
), purchases AS (
    SELECT user_id, count(DISTINCT item_id) AS own
    FROM interactions WHERE split = 'train'
    GROUP BY user_id
), held_out AS (
    SELECT h.split, h.user_id, h.item_id
    FROM interactions AS h
    WHERE split <> 'train' AND NOT EXISTS (
        FROM interactions AS t
        WHERE t.split = 'train' AND t.user_id = h.user_id AND t.item_id = h.item_id)
)
SELECT split,
    count(DISTINCT user_id) AS users,
    count(*) AS samples,
    count(*) FILTER (WHERE list_contains(candidates, item_id)) AS times,
    sum(negatives / ((SELECT count(*) FROM items) - own)) AS expected,
    times / expected AS ratio
FROM held_out JOIN drawn USING (user_id) JOIN purchases USING (user_id)
GROUP BY split
ORDER BY split DESC;
