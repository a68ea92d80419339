-- absence: a user's held-out products are the only ones never shown as negatives
--
-- Training negatives that avoid the whole history, held-out purchases included, show a user every
-- product sooner or later except those bought and those held out. The model learns the gap.
-- Negatives that avoid only the training purchases may be a held-out item by chance, as they
-- should; that is what this check counts.
--
-- grain: one row per split, how often held-out items are among the user's own training
-- negatives, divided by how often they would if they were any product that the user never bought.
-- That expectation is taken product by product from the users who never bought it, so it fits
-- every way of drawing: uniform, by popularity, by time.
-- threshold: a quarter of the expectation, and fewer than chance gives once in a million. Not
-- higher, because negatives drawn from what existed at the time of a purchase rightly hold fewer of
-- the products that came out later.

WITH held AS MATERIALIZED (
    SELECT h.user_id, h.item_id, h.split
    FROM interactions AS h
        ANTI JOIN (FROM interactions WHERE split = 'train') AS t USING (user_id, item_id)
    WHERE h.split <> 'train'
), drawn AS (
    SELECT user_id, item_id AS positive, unnest(candidates) AS item_id
    FROM samples
    WHERE task = 'topn' AND split = 'train'
), shown AS MATERIALIZED (
    SELECT item_id, count(*) FILTER (WHERE held.split IS NULL) AS others,
        count(*) FILTER (WHERE held.split = 'valid') AS valid,
        count(*) FILTER (WHERE held.split = 'test') AS test
    FROM drawn LEFT JOIN held USING (user_id, item_id)
    WHERE item_id <> positive
    GROUP BY item_id
), visits AS MATERIALIZED (
    SELECT user_id, count(*) AS samples
    FROM samples
    WHERE task = 'topn' AND split = 'train'
    GROUP BY user_id
), owners AS (
    SELECT item_id, sum(samples) AS samples
    FROM (SELECT DISTINCT user_id, item_id FROM interactions) JOIN visits USING (user_id)
    GROUP BY item_id
), rates AS MATERIALIZED (
    -- NULL where everybody bought it: then nothing can be expected, and nothing is counted
    SELECT item_id, valid, test,
        coalesce(others, 0) / nullif(everybody.samples - owners.samples, 0) AS rate
    FROM owners LEFT JOIN shown USING (item_id),
        (SELECT sum(samples) AS samples FROM visits) AS everybody
), expected AS (
    SELECT split, sum(rate * samples) AS mean
    FROM held JOIN rates USING (item_id) JOIN visits USING (user_id)
    GROUP BY split
), figures AS (
    SELECT s.split, coalesce(mean, 0) AS mean,
        (SELECT coalesce(sum(CASE s.split WHEN 'valid' THEN valid ELSE test END), 0)
         FROM rates WHERE rate IS NOT NULL) AS observed,
        (SELECT count(*) FROM visits) > 0 AS known
    FROM (SELECT unnest(['test', 'valid']) AS split) AS s LEFT JOIN expected USING (split)
)
SELECT split || ' products as training negatives, of expected' AS figure,
    'ratio' AS unit,
    CASE WHEN known AND mean > 0 THEN observed / mean END AS value,
    1.0 AS chance,
    0.25 AS threshold,
    CASE WHEN NOT known THEN 'not applicable'
         WHEN mean <= 13.8 THEN 'too few to tell'
         WHEN observed < 0.25 * mean AND surely_less(observed, mean) THEN 'LEAK'
         ELSE 'clean' END AS verdict,
    CASE WHEN NOT known THEN 'no training negatives are stored here' END AS why
FROM figures
ORDER BY split;
