-- duplicates: the held-out item was bought before
--
-- A second review of a product by the same user is not a second purchase to predict: the answer
-- is in the history, and was trained on.
--
-- grain: one row per split, the share of held-out purchases that the user made before.
-- threshold: none; one is too many.

WITH held AS (
    SELECT h.split, h.user_id,
        EXISTS (SELECT 1 FROM interactions AS b
                WHERE b.user_id = h.user_id AND b.item_id = h.item_id
                  AND b.position < h.position) AS again
    FROM interactions AS h
    WHERE h.split <> 'train'
)
SELECT split || ' purchases made before' AS figure,
    'percent' AS unit,
    avg(again::INTEGER) AS value,
    0.0 AS chance,
    0.0 AS threshold,
    CASE WHEN bool_or(again) THEN 'LEAK' ELSE 'clean' END AS verdict,
    NULL AS why
FROM held
GROUP BY split
ORDER BY split;

SELECT format('user {} bought item {} at positions {} and {} ({})',
        h.user_id, h.item_id, b.position, h.position, h.split) AS example
FROM interactions AS h JOIN interactions AS b
    ON b.user_id = h.user_id AND b.item_id = h.item_id AND b.position < h.position
WHERE h.split <> 'train'
ORDER BY h.user_id, h.position
LIMIT 5;
