-- candidates: a top-N sample offers its target twice, or not at all
--
-- A target offered twice is easier to hit, one not offered is impossible.
--
-- grain: one row per split, the share of top-N samples. threshold: none; one is too many.

WITH checked AS (
    SELECT split, len(list_filter(candidates, lambda c: c = item_id)) <> 1 AS wrong
    FROM samples
    WHERE task = 'topn'
), counted AS (
    SELECT unnest(['train', 'valid', 'test']) AS split
)
SELECT c.split || ' lists without the target exactly once' AS figure,
    'percent' AS unit,
    avg(wrong::INTEGER) AS value,
    0.0 AS chance,
    0.0 AS threshold,
    CASE WHEN count(wrong) = 0 THEN 'not applicable'
         WHEN bool_or(wrong) THEN 'LEAK'
         ELSE 'clean' END AS verdict,
    CASE WHEN count(wrong) = 0 THEN 'no top-N samples here' END AS why
FROM counted AS c LEFT JOIN checked USING (split)
GROUP BY c.split
ORDER BY c.split;

SELECT format('sample {} of user {}: item {} among {}', sample_id, user_id, item_id, candidates)
    AS example
FROM samples
WHERE task = 'topn' AND len(list_filter(candidates, lambda c: c = item_id)) <> 1
ORDER BY sample_id
LIMIT 5;
