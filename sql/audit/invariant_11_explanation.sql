-- explanation: the samples of each round are the explanations of the catalogue, word for word
--
-- grain: one row per fault.

WITH catalogue AS (
    SELECT split, user_id, item_id, sentence, count(*) AS n FROM explanations GROUP BY ALL
), found AS (
    SELECT split, round, user_id, item_id, target AS sentence, count(*) AS n
    FROM samples
    WHERE task = 'explanation'
    GROUP BY ALL
)
SELECT format('user {} item {} ({} round {}): {} samples of {} explanations',
        user_id, item_id, split, round, found.n, coalesce(c.n, 0)) AS fault
FROM found LEFT JOIN catalogue AS c USING (split, user_id, item_id, sentence)
WHERE found.n IS DISTINCT FROM c.n;
