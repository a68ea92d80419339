-- tie order: products of the same day are in alphabetical order
--
-- Times are often whole days and dumps are sorted by product code, so a stable sort by time leaves
-- the purchases of a day in the order of their codes. That order is not behaviour, but it makes the
-- next product easier to guess. (Published Beauty: 69.4% of neighbours ascend.)
--
-- grain: one row per figure, the share of neighbours in a sequence whose codes ascend
--   of all neighbours   where times are known, chance is a half for the tied ones and, for the
--                       others, their actual order: time ordered them, and newer products have higher
--                       codes. Where times are not known chance is a half for all, and a leak is
--                       ten points away from it, because of those newer products. (Measured on
--                       real dumps without their ties: 49 to 50%.)
--   tied in time        where times are known. Nothing but chance should order them: a half.
-- threshold: five standard deviations of a fair coin for each pair, 5 / (2 sqrt(pairs)), and the
-- ten points where times are not known. Pairs of the same product twice are left out.

WITH pairs AS (
    SELECT (asin > lag(asin) OVER sequence)::INTEGER AS ascends,
        timestamp = lag(timestamp) OVER sequence AS tied
    FROM interactions JOIN items USING (item_id)
    WINDOW sequence AS (PARTITION BY user_id ORDER BY position)
    QUALIFY asin <> lag(asin) OVER sequence
), counted AS (
    SELECT count(*) AS n, sum(ascends) AS up,
        count(*) FILTER (WHERE tied) AS tied_n, sum(ascends) FILTER (WHERE tied) AS tied_up,
        count(tied) = count(*) AS timed
    FROM pairs
), figures AS (
    SELECT 1 AS place, 'neighbours that ascend' AS figure, n, up / n AS share,
        CASE WHEN timed THEN (tied_n / 2 + up - coalesce(tied_up, 0)) / n ELSE 0.5 END AS chance,
        CASE WHEN timed THEN 0 ELSE 0.1 END AS floor, true AS known
    FROM counted
    UNION ALL
    SELECT 2, 'neighbours tied in time that ascend', tied_n, tied_up / nullif(tied_n, 0), 0.5, 0,
        timed
    FROM counted
), bounded AS (
    SELECT *, CASE WHEN n > 0 THEN greatest(floor, 2.5 / sqrt(n)) END AS bound
    FROM figures, facts
)
SELECT figure,
    'percent' AS unit,
    CASE WHEN named AND known THEN share END AS value,
    chance,
    CASE WHEN chance + bound < 1 THEN chance + bound END AS threshold,
    CASE WHEN NOT named OR NOT known OR n = 0 THEN 'not applicable'
         WHEN bound >= 0.5 THEN 'too few to tell'
         WHEN abs(share - chance) > bound THEN 'LEAK'
         ELSE 'clean' END AS verdict,
    CASE WHEN NOT named THEN 'product codes are not known here'
         WHEN NOT known THEN 'times are not known here'
         WHEN n = 0 THEN 'there are none' END AS why
FROM bounded
ORDER BY place;

SELECT format('user {}, positions {} and {}: {}, then {}{}', user_id, position - 1, position,
        before, asin, CASE WHEN tied THEN ' at the same time' ELSE '' END) AS example
FROM (
    SELECT user_id, position, asin, lag(asin) OVER sequence AS before,
        coalesce(timestamp = lag(timestamp) OVER sequence, false) AS tied
    FROM interactions JOIN items USING (item_id)
    WINDOW sequence AS (PARTITION BY user_id ORDER BY position)
)
WHERE asin > before
ORDER BY tied DESC, user_id, position
LIMIT 5;
