-- drawn: the positive and the negatives of each user of one part.   key: user_id
--
-- in: asked (14_asked.sql), one split and round
--
-- item_ids has `negatives` distinct products in random order, fewer only where fewer exist.
-- podprep/recipe/draws.py draws the same from a uniform pool, and faster.

-- l must be a column: a macro repeats its text, and an expression would run once an element
CREATE OR REPLACE TEMP MACRO firsts(l) AS
    list_filter(l, lambda x, i: list_position(l, x) = i);

CREATE OR REPLACE TEMP MACRO eligible(numbers, size, pool, own) AS
    list_filter(
        list_transform(list_filter(numbers, lambda n: n < size), lambda n: pool[CAST(n AS BIGINT) + 1]),
        lambda x: NOT list_contains(own, x));

CREATE OR REPLACE TEMP TABLE drawn AS
WITH first_try AS (
    SELECT asked.*, pool,
        -- a popular product stands in the pool many times: draw more
        eligible(permuted(k1, k2, k3, k4, k5, k6,
                CASE negative_sampling WHEN 'popularity' THEN least(a * b, 2 * slots)
                     ELSE slots END, a, b), size, pool, own) AS found
    FROM asked, (SELECT items AS pool FROM pools WHERE scope = (SELECT min(scope) FROM asked))
), tried AS (
    SELECT *, CASE negative_sampling WHEN 'popularity' THEN firsts(found) ELSE found END AS once
    FROM first_try
), found_all AS (
    -- where that was not enough, the whole pool is
    SELECT *, CASE WHEN negative_sampling = 'popularity' AND len(once) < negatives
                   THEN eligible(permuted(k1, k2, k3, k4, k5, k6, a * b, a, b), size, pool, own)
                   ELSE once END AS enough
    FROM tried
)
SELECT user_id, split, round, item_id, CAST(
    CASE WHEN negative_sampling = 'popularity' AND len(once) < negatives
         THEN firsts(enough)[1:negatives]
         ELSE enough[1:negatives] END AS INTEGER[]) AS item_ids
FROM found_all
ORDER BY user_id;
