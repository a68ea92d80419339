-- explanations: held-out purchases are trained on as explanations
--
-- Where explanations are split at random on their own, most held-out purchases of the other two
-- tasks are fed to the joint model as "user_u item_i" in training: it has seen the answer.
--
-- grain: one row per split, the share of held-out purchases whose (user, product) has a training
-- explanation. threshold: none; one is too many.

WITH trained AS (
    SELECT DISTINCT user_id, item_id FROM explanations WHERE split = 'train'
), held AS (
    SELECT i.split, count(*) AS n, count(t.user_id) AS hits
    FROM interactions AS i LEFT JOIN trained AS t USING (user_id, item_id)
    WHERE i.split <> 'train'
    GROUP BY i.split
)
SELECT split || ' purchases explained in training' AS figure,
    'percent' AS unit,
    CASE WHEN known THEN hits / n END AS value,
    0.0 AS chance,
    0.0 AS threshold,
    CASE WHEN NOT known THEN 'not applicable' WHEN hits > 0 THEN 'LEAK' ELSE 'clean' END AS verdict,
    CASE WHEN NOT known THEN 'there are no explanations here' END AS why
FROM held, (SELECT count(*) > 0 AS known FROM trained)
ORDER BY split;

SELECT format('user {} item {} is a {} purchase, and explained in training',
        user_id, item_id, i.split) AS example
FROM interactions AS i
    SEMI JOIN (FROM explanations WHERE split = 'train') USING (user_id, item_id)
WHERE i.split <> 'train'
ORDER BY user_id, position
LIMIT 5;
