-- How often is each item a training negative, against chance?
-- One row per item, those furthest from chance first. expected is what uniform sampling gives: a
-- sample draws its negatives from the items that its user has not bought in training (so popular
-- items come up less). deviations is (times - expected) in standard deviations; within 4 is
-- chance. Other sampling (by popularity, by time, --compat pod) is meant to differ.

WITH drawn AS (
    SELECT user_id, item_id, candidates, len(candidates) - 1 AS negatives
    FROM samples
    WHERE task = 'topn' AND split = 'train'
), bought AS (
    SELECT DISTINCT user_id, item_id FROM interactions WHERE split = 'train'
), chance AS (
    -- of one item to be a negative of this user, over all the samples
    SELECT user_id,
        sum(negatives) / ((SELECT count(*) FROM items) - any_value(own)) AS expected
    FROM drawn JOIN (SELECT user_id, count(*) AS own FROM bought GROUP BY user_id)
        USING (user_id)
    GROUP BY user_id
), spared AS (
    SELECT item_id, count(*) AS buyers, sum(expected) AS expected
    FROM bought JOIN chance USING (user_id)
    GROUP BY item_id
), seen AS (
    SELECT candidate AS item_id, count(*) AS times
    FROM (SELECT item_id, unnest(candidates) AS candidate FROM drawn)
    WHERE candidate <> item_id
    GROUP BY candidate
), compared AS (
    SELECT items.item_id,
        coalesce(buyers, 0) AS buyers,
        coalesce(times, 0) AS times,
        (SELECT sum(expected) FROM chance) - coalesce(spared.expected, 0) AS expected
    FROM items LEFT JOIN seen USING (item_id) LEFT JOIN spared USING (item_id)
)
SELECT *, times / nullif(expected, 0) AS ratio,
    (times - expected) / sqrt(nullif(expected, 0)) AS deviations
FROM compared
ORDER BY abs(deviations) DESC NULLS LAST, item_id;
