-- pools: what negatives are drawn from, as one list a scope.        key: scope
-- arrivals: how much of the pool exists from a time on.             key: (scope, time)
--
-- Scope train knows training purchases only, scope all the whole history. The list holds
--   uniform      every product of the catalogue once;
--   popularity   the products of the training purchases, as often as they were bought;
--   time         every product once, in order of its first purchase in the scope, so that the
--                first `size` entries are the products that existed at a time.
-- A permutation of 0..a*b-1 with a*b >= size draws from the first `size` entries; a is chosen
-- near the root of the size so that a*b - size, the numbers drawn in vain, is smallest; below 12
-- a permutation by so few rounds would not be even.

CREATE TABLE pools AS
WITH scopes AS (
    SELECT unnest(['train', 'all']) AS scope
), first_bought AS (
    SELECT scope, item_id, min(timestamp) AS time
    FROM scopes JOIN interactions ON scope = 'all' OR split = 'train'
    GROUP BY scope, item_id
)
SELECT scope, CASE (SELECT negative_sampling FROM options)
    WHEN 'uniform' THEN (SELECT list(item_id ORDER BY item_id) FROM items)
    WHEN 'popularity' THEN (SELECT list(item_id ORDER BY user_id, position)
                            FROM interactions WHERE split = 'train')
    WHEN 'time' THEN (SELECT list(item_id ORDER BY f.time, item_id)
                      FROM first_bought AS f WHERE f.scope = scopes.scope)
    END AS items
FROM scopes;

CREATE TABLE arrivals AS
WITH first_bought AS (
    SELECT scope, item_id, min(timestamp) AS time
    FROM pools JOIN interactions ON scope = 'all' OR split = 'train'
    GROUP BY scope, item_id
), sizes AS (
    SELECT scope, TIMESTAMP '1900-01-01' AS time, len(items) AS size
    FROM pools
    WHERE (SELECT negative_sampling FROM options) <> 'time'
    UNION ALL
    SELECT scope, time, CAST(sum(count(*)) OVER (PARTITION BY scope ORDER BY time) AS BIGINT)
    FROM first_bought
    WHERE (SELECT negative_sampling FROM options) = 'time'
    GROUP BY scope, time
), sides AS (
    -- the vain numbers first, the side second, packed into one integer for the minimum
    SELECT *, list_min(list_transform(range(root, root + 64), lambda s:
            (s * ((size + s - 1) // s) - size) * 4294967296 + s)) % 4294967296 AS a
    FROM (SELECT *, greatest(12, CAST(ceil(sqrt(size)) AS BIGINT)) AS root FROM sizes)
)
SELECT scope, time, size, a, greatest(12, (size + a - 1) // a) AS b
FROM sides;
