-- training: held-out purchases are in training samples
--
-- A validation or test purchase must be in no training sample of its user, of any task: not as
-- target, not in a history, not as the product explained. (As a negative of a top-N sample it may
-- occur: excluding it there is the leak, see the check of absence.)
--
-- grain: one row per task, the share of held-out purchases that its training samples contain.
-- threshold: none; one is too many.

WITH held AS MATERIALIZED (
    SELECT DISTINCT user_id, item_id FROM interactions WHERE split <> 'train'
), fed AS (
    SELECT task, user_id, item_id
    FROM samples
    WHERE split = 'train'
    UNION ALL
    SELECT task, user_id, unnest(history)
    FROM samples
    WHERE split = 'train' AND task = 'sequential'
), found AS (
    SELECT task, count(DISTINCT (user_id, item_id)) AS n
    FROM fed SEMI JOIN held USING (user_id, item_id)
    GROUP BY task
), figures AS (
    SELECT task, coalesce(n, 0) AS n,
        (SELECT count(*) FROM held) AS all_of_them,
        task IN (SELECT DISTINCT task FROM samples) AS known
    FROM (SELECT unnest(['sequential', 'topn', 'explanation']) AS task) LEFT JOIN found USING (task)
)
SELECT 'held-out purchases in ' || task || ' training samples' AS figure,
    'percent' AS unit,
    CASE WHEN known AND all_of_them > 0 THEN n / all_of_them END AS value,
    0.0 AS chance,
    0.0 AS threshold,
    CASE WHEN NOT known OR all_of_them = 0 THEN 'not applicable'
         WHEN n > 0 THEN 'LEAK'
         ELSE 'clean' END AS verdict,
    CASE WHEN NOT known THEN 'no ' || task || ' samples here'
         WHEN all_of_them = 0 THEN 'nothing is held out' END AS why
FROM figures
ORDER BY list_position(['sequential', 'topn', 'explanation'], task);

SELECT format('user {} item {} is held out, and in sample {} ({}, train)',
        user_id, item_id, sample_id, task) AS example
FROM (
    SELECT task, sample_id, user_id, item_id FROM samples WHERE split = 'train'
    UNION ALL
    SELECT task, sample_id, user_id, unnest(history) FROM samples
    WHERE split = 'train' AND task = 'sequential'
) SEMI JOIN (FROM interactions WHERE split <> 'train') USING (user_id, item_id)
ORDER BY sample_id, item_id
LIMIT 5;
