-- place: the target is at some places of the candidates more often than at others
--
-- The place would be the answer: a badly shuffled list, or a target appended at the end.
--
-- grain: one row per split, the share of top-N samples whose target is at the most frequent
-- place; of the lists of the most frequent length.
-- threshold: every place is as likely; what chance gives once in a million for any of them.

WITH listed AS (
    SELECT split, len(candidates) AS size, list_position(candidates, item_id) AS place
    FROM samples
    WHERE task = 'topn'
), usual AS (
    SELECT split, mode(size) AS size FROM listed GROUP BY split
), places AS (
    SELECT split, size, place, count(*) AS n FROM listed JOIN usual USING (split, size) GROUP BY ALL
), figures AS (
    SELECT s.split, size, max(n) AS most, sum(n) AS lists, sum(n) / size AS mean,
        -- any of `size` places may be the most frequent: as many chances
        1 + ln(size) / 13.8 AS clump
    FROM (SELECT unnest(['train', 'valid', 'test']) AS split) AS s LEFT JOIN places USING (split)
    GROUP BY s.split, size
), bounded AS (
    SELECT *, CASE WHEN lists > 0 THEN least_count(mean, clump, lists) END AS least FROM figures
)
SELECT split || ' targets at the most frequent place' AS figure,
    'percent' AS unit,
    most / lists AS value,
    1 / size AS chance,
    least / lists AS threshold,
    CASE WHEN lists IS NULL THEN 'not applicable'
         WHEN least IS NULL THEN 'too few to tell'
         WHEN surely_more(most, mean, clump) THEN 'LEAK'
         ELSE 'clean' END AS verdict,
    CASE WHEN lists IS NULL THEN 'no top-N samples here' END AS why
FROM bounded
ORDER BY split;
