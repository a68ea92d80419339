-- One row per month between the first purchase and the last: purchases by split.
-- Empty where no times are known; a month without a purchase has zeros.

WITH bounds AS (
    SELECT date_trunc('month', min(timestamp)) AS first, date_trunc('month', max(timestamp)) AS last
    FROM interactions
), months AS (
    SELECT unnest(range(first, last + INTERVAL 1 MONTH, INTERVAL 1 MONTH)) AS month FROM bounds
    WHERE first IS NOT NULL
), counted AS (
    SELECT date_trunc('month', timestamp) AS month,
        count(*) AS purchases,
        count(*) FILTER (WHERE split = 'train') AS train,
        count(*) FILTER (WHERE split = 'valid') AS valid,
        count(*) FILTER (WHERE split = 'test') AS test
    FROM interactions
    GROUP BY ALL
)
SELECT strftime(month, '%Y-%m') AS month, coalesce(purchases, 0) AS purchases,
    coalesce(train, 0) AS train, coalesce(valid, 0) AS valid, coalesce(test, 0) AS test
FROM months LEFT JOIN counted USING (month)
ORDER BY month;
