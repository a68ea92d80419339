-- purchases: one row per user and product (with --duplicates all: per review).
-- key: line_number
--
-- A second review of a product by the same user is not a second purchase to predict: it would put
-- the target into the history. `first` keeps the earliest, `last` the latest; among reviews of
-- the same time the first (last) of the dump. `all` keeps every review, as the
-- published preprocessing does.

CREATE TABLE purchases AS
SELECT line_number, reviewer_id, asin, rating, time_ms
FROM parsed
WHERE reason IS NULL
QUALIFY CASE (SELECT duplicates FROM options)
    WHEN 'first' THEN row_number() OVER (
        PARTITION BY reviewer_id, asin ORDER BY time_ms, line_number) = 1
    WHEN 'last' THEN row_number() OVER (
        PARTITION BY reviewer_id, asin ORDER BY time_ms DESC, line_number DESC) = 1
    ELSE true END;

INSERT INTO stages
SELECT 'deduplicate', 'in', count(*) FROM parsed WHERE reason IS NULL
UNION ALL
SELECT 'deduplicate', 'kept', count(*) FROM purchases
UNION ALL
SELECT 'deduplicate', 'same user and product again',
    (SELECT count(*) FROM parsed WHERE reason IS NULL) - (SELECT count(*) FROM purchases);
