-- How many purchases have the same time as another of their user?
-- One row per number of purchases at the same time, 1 being untied. Times are often whole days,
-- and the dump does not say in which order a day's purchases were made.

WITH at_once AS (
    SELECT user_id, timestamp, count(*) AS purchases_at_once
    FROM interactions
    GROUP BY user_id, timestamp
)
SELECT purchases_at_once,
    count(*) AS times,
    count(DISTINCT user_id) AS users,
    CAST(sum(purchases_at_once) AS BIGINT) AS purchases,
    sum(purchases_at_once) / sum(sum(purchases_at_once)) OVER () AS share
FROM at_once
GROUP BY purchases_at_once
ORDER BY purchases_at_once;
