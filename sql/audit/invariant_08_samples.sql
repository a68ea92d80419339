-- samples: the right number for each task, split and round, each with its own sample_id
--
-- grain: one row per fault.
--   sequential    training: one per round and user with at least two training purchases; with
--                 --segments prefix one per round and training purchase after a user's first;
--   topn          training: one per round and user with at least one;
--                 both, validation and test: one per user with something held out, round 0;
--   explanation   one per explanation (and round, in training).
-- in: sample_id(), see build/00_draws.sql; the last ten digits of a sequential or top-N sample
-- are the user; with --segments prefix the last seven.

WITH wanted AS (
    SELECT 'sequential' AS task, 'train' AS split, CAST(sum(CASE
        WHEN train_length < 2 THEN 0
        WHEN segments = 'prefix' THEN least(train_length - 1, 1000) ELSE 1 END) AS BIGINT) AS n
    FROM sequences, options
    UNION ALL
    SELECT 'topn', 'train', count(*) FILTER (WHERE train_length >= 1) FROM sequences
    UNION ALL
    SELECT task, split, count(*) FILTER (WHERE length >= 3)
    FROM sequences, (SELECT unnest(['sequential', 'topn']) AS task),
        (SELECT unnest(['valid', 'test']) AS split)
    GROUP BY ALL
    UNION ALL
    SELECT 'explanation', split, count(*) FROM explanations GROUP BY split
), expected AS (
    SELECT task, split, r AS round, n
    FROM wanted, options, range(CASE split WHEN 'train' THEN rounds ELSE 1 END) AS numbered(r)
    WHERE n > 0 AND list_contains(tasks, task)
), found AS (
    SELECT task, split, round, count(*) AS n FROM samples GROUP BY ALL
)
SELECT format('{} {} round {}: {} samples, {} expected', task, split, round,
        coalesce(found.n, 0), coalesce(expected.n, 0)) AS fault
FROM found FULL JOIN expected USING (task, split, round)
WHERE found.n IS DISTINCT FROM expected.n
UNION ALL
SELECT format('sample {} occurs {} times', sample_id, count(*))
FROM samples
GROUP BY sample_id
HAVING count(*) > 1 OR sample_id IS NULL
UNION ALL
SELECT format('sample {} is of {} {} round {}, user {}', sample_id, task, split, round, user_id)
FROM samples, options
WHERE sample_id // 10000000000 <> sample_id(task, split, round, 0) // 10000000000
   OR task <> 'explanation' AND user_id <> sample_id
        % CASE WHEN task = 'sequential' AND segments = 'prefix' THEN 10000000 ELSE 10000000000 END;
