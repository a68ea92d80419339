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
        CASE negative_sampling
            -- a popular product stands in the pool many times: draw more, keep each one's first
            WHEN 'popularity' THEN
                firsts(eligible(permuted(k1, k2, k3, k4, k5, k6, least(a * b, 2 * slots), a, b),
                                size, pool, own))
            ELSE eligible(permuted(k1, k2, k3, k4, k5, k6, slots, a, b), size, pool, own)
            END AS found
    FROM sized, (SELECT pools.items AS pool FROM pools WHERE scope = (SELECT scope FROM scoped))
)
SELECT user_id, split, round, items[position] AS item_id, CAST(
    CASE WHEN negative_sampling = 'popularity' AND len(found) < negatives
         THEN firsts(eligible(permuted(k1, k2, k3, k4, k5, k6, a * b, a, b),
                              size, pool, own))[1:negatives]
         ELSE found[1:negatives] END AS INTEGER[]) AS item_ids
FROM first_try
ORDER BY user_id;
