-- One row of figures about the whole dataset, beside those of the manifest (build/18_statistics.sql).
-- Shares of times are NULL where no times are known; `top_share` is the share of all purchases that
-- the most bought tenth of the items has; `gini` is 0 where all items are bought alike, near 1
-- where one item has all purchases.

WITH bought AS (
    SELECT item_id, count(user_id) AS purchases,
        row_number() OVER (ORDER BY count(user_id), item_id) AS place
    FROM items LEFT JOIN interactions USING (item_id)
    GROUP BY item_id
)
SELECT
    (SELECT quantile_disc(length, 0.5)
     FROM (SELECT count(*) AS length FROM interactions GROUP BY user_id)) AS median_length,
    (SELECT CAST(min(timestamp) AS DATE) FROM interactions) AS first_day,
    (SELECT CAST(max(timestamp) AS DATE) FROM interactions) AS last_day,
    (SELECT avg(CAST(tied AS INTEGER)) FROM interactions WHERE split = 'test') AS tied_test_share,
    (SELECT sum(purchases) FILTER (WHERE place > n - ceil(n / 10)) / sum(purchases)
     FROM bought, (SELECT count(*) AS n FROM bought)) AS top_share,
    (SELECT sum((2 * place - n - 1) * purchases) / (any_value(n) * sum(purchases))
     FROM bought, (SELECT count(*) AS n FROM bought)) AS gini;
