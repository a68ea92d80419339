-- history: the target of a sequential sample is in its own history
--
-- Copying would be enough, and a model that only copies would look good.
--
-- grain: one row per split, the share of sequential samples. threshold: none; one is too many.

WITH checked AS (
    SELECT split, list_contains(history, item_id) AS inside
    FROM samples
    WHERE task = 'sequential'
), counted AS (
    SELECT unnest(['train', 'valid', 'test']) AS split
)
SELECT c.split || ' histories that hold the target' AS figure,
    'percent' AS unit,
    avg(inside::INTEGER) AS value,
    0.0 AS chance,
    0.0 AS threshold,
    CASE WHEN count(inside) = 0 THEN 'not applicable'
         WHEN bool_or(inside) THEN 'LEAK'
         ELSE 'clean' END AS verdict,
    CASE WHEN count(inside) = 0 THEN 'no sequential samples here' END AS why
FROM counted AS c LEFT JOIN checked USING (split)
GROUP BY c.split
ORDER BY c.split;

SELECT format('sample {} of user {}: item {} in {}', sample_id, user_id, item_id, history) AS example
FROM samples
WHERE task = 'sequential' AND list_contains(history, item_id)
ORDER BY sample_id
LIMIT 5;
