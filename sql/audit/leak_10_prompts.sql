-- prompts: the text of a prompt gives its target away
--
-- A sequential prompt must not name its held-out item, an explanation prompt must not contain the
-- sentence to write. (An explanation prompt names its product, and a top-N prompt its candidates:
-- that is the question.)
--
-- grain: one row per task, the share of all samples. Sentences of fewer than three words are left
-- out: they may be in a template by chance. threshold: none; one is too many.

WITH checked AS (
    SELECT 'sequential' AS task,
        list_contains(regexp_extract_all(prompt, 'item_([0-9]+)', 1), target) AS named
    FROM samples
    WHERE task = 'sequential'
    UNION ALL
    SELECT 'explanation', contains(lower(prompt), lower(target))
    FROM samples
    WHERE task = 'explanation' AND len(string_split(target, ' ')) >= 3
)
SELECT t.task || ' prompts that name the target' AS figure,
    'percent' AS unit,
    avg(named::INTEGER) AS value,
    0.0 AS chance,
    0.0 AS threshold,
    CASE WHEN count(named) = 0 THEN 'not applicable'
         WHEN bool_or(named) THEN 'LEAK'
         ELSE 'clean' END AS verdict,
    CASE WHEN count(named) = 0 THEN 'no ' || t.task || ' samples here' END AS why
FROM (SELECT unnest(['sequential', 'explanation']) AS task) AS t LEFT JOIN checked USING (task)
GROUP BY t.task
ORDER BY t.task DESC;

SELECT format('sample {}: {} -> {}', sample_id, prompt[:200], target) AS example
FROM samples
WHERE task = 'sequential'
      AND list_contains(regexp_extract_all(prompt, 'item_([0-9]+)', 1), target)
   OR task = 'explanation' AND len(string_split(target, ' ')) >= 3
      AND contains(lower(prompt), lower(target))
ORDER BY sample_id
LIMIT 5;
