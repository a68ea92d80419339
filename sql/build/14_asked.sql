-- asked: each user of one part: the positive, and what the negatives depend on.   key: user_id
--
-- in: part(split, round, first_row, last_row), rows being user_id
--
-- train   the positive is any training purchase, drawn anew each round; negatives stay clear of
--         the training purchases (clean) or of the whole history (pod: then a user's validation
--         and test items are the only products never seen as negatives, which is a leak);
-- valid, test   the positive is the held-out purchase; negatives stay clear of the whole history
--         and depend on nothing but the seed and the user: frozen.
-- own is what negatives stay clear of; k1 to k6 key a permutation of 0..a*b-1, of which the first
-- `slots` numbers are enough.

CREATE OR REPLACE TEMP TABLE asked AS
WITH scoped AS (
    SELECT part.*, options.*,
        CASE WHEN split = 'train' AND reading = 'clean' THEN 'train' ELSE 'all' END AS scope
    FROM part, options
), placed AS (
    SELECT user_id, scoped.*, items, times,
        CASE scope WHEN 'train' THEN items[1:train_length] ELSE items END AS own,
        CASE split WHEN 'test' THEN length
                   WHEN 'valid' THEN length - 1
                   ELSE 1 + draw(key('positive', user_id, round), 1, train_length)
                   END AS position
    FROM sequences, scoped
    WHERE user_id BETWEEN first_row AND last_row AND (split = 'train' OR length >= 3)
), chosen AS (
    SELECT user_id, split, round, scope, negatives, negative_sampling, own,
        items[position] AS item_id,
        -- only where the pool grows does the time matter
        CASE negative_sampling WHEN 'time' THEN times[position]
             ELSE TIMESTAMP '1900-01-01' END AS time,
        key('negatives/' || split, user_id, round) AS draws
    FROM placed
), sized AS (
    -- no lists in here: they would be copied
    SELECT times.scope, times.time, size, a, b
    FROM (SELECT DISTINCT scope, time FROM chosen) AS times
        ASOF JOIN arrivals ON arrivals.scope = times.scope AND times.time >= arrivals.time
)
SELECT user_id, split, round, scope, negatives, negative_sampling, item_id, own, size, a, b,
    wide(draws, 1) AS k1, wide(draws, 2) AS k2, wide(draws, 3) AS k3,
    wide(draws, 4) AS k4, wide(draws, 5) AS k5, wide(draws, 6) AS k6,
    -- enough even if every own product and every number beyond the pool comes up
    least(a * b, negatives + len(own) + a * b - size) AS slots
FROM chosen JOIN sized USING (scope, time)
ORDER BY user_id;
