-- drawn: the positive and the negatives of each user of one part.   key: user_id
--
-- in: part(split, round, first_row, last_row), rows being user_id
--
-- train   the positive is any training purchase, drawn anew each round; negatives stay clear of
--         the training purchases (clean) or of the whole history (pod: then a user's validation
--         and test items are the only products never seen as negatives, which is a leak);
-- valid, test   the positive is the held-out purchase; negatives stay clear of the whole history
--         and depend on nothing but the seed and the user: frozen.
-- item_ids has `negatives` distinct products in random order, fewer only where fewer exist.

-- l must be a column: a macro repeats its text, and an expression would run once an element
CREATE OR REPLACE TEMP MACRO firsts(l) AS
    list_filter(l, lambda x, i: list_position(l, x) = i);

CREATE OR REPLACE TEMP MACRO eligible(numbers, size, pool, own) AS
    list_filter(
        list_transform(list_filter(numbers, lambda n: n < size), lambda n: pool[CAST(n AS BIGINT) + 1]),
        lambda x: NOT list_contains(own, x));

CREATE OR REPLACE TEMP TABLE drawn AS
WITH scoped AS (
    SELECT part.*, options.*,
        CASE WHEN split = 'train' AND reading = 'clean' THEN 'train' ELSE 'all' END AS scope
    FROM part, options
), chosen AS (
    SELECT user_id, split, round, scope, negatives, negative_sampling, items, times,
        key('negatives/' || split, user_id, round) AS draws,
        CASE scope WHEN 'train' THEN items[1:train_length] ELSE items END AS own,
        CASE split WHEN 'test' THEN length
                   WHEN 'valid' THEN length - 1
                   ELSE 1 + draw(key('positive', user_id, round), 1, train_length)
                   END AS position
    FROM sequences, scoped
    WHERE user_id BETWEEN first_row AND last_row AND (split = 'train' OR length >= 3)
), sized AS (
    SELECT chosen.*, size, a, b,
        wide(draws, 1) AS k1, wide(draws, 2) AS k2, wide(draws, 3) AS k3,
        wide(draws, 4) AS k4, wide(draws, 5) AS k5, wide(draws, 6) AS k6,
        -- enough even if every own product and every number beyond the pool comes up
        least(a * b, negatives + len(own) + a * b - size) AS slots
    FROM chosen ASOF LEFT JOIN arrivals
        ON arrivals.scope = chosen.scope AND times[position] >= arrivals.time
), first_try AS (
    SELECT sized.*, pool,
        -- a popular product stands in the pool many times: draw more
        eligible(permuted(k1, k2, k3, k4, k5, k6,
                CASE negative_sampling WHEN 'popularity' THEN least(a * b, 2 * slots)
                     ELSE slots END, a, b), size, pool, own) AS found
    FROM sized, (SELECT pools.items AS pool FROM pools WHERE scope = (SELECT scope FROM scoped))
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
SELECT user_id, split, round, items[position] AS item_id, CAST(
    CASE WHEN negative_sampling = 'popularity' AND len(once) < negatives
         THEN firsts(enough)[1:negatives]
         ELSE enough[1:negatives] END AS INTEGER[]) AS item_ids
FROM found_all
ORDER BY user_id;
