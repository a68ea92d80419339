-- One row of figures about the whole dataset.
-- tied_share is NULL where no times are known; `top_share` is the share of all purchases that the
-- most bought tenth of the items has; `gini` is 0 where all items are bought alike, near 1 where
-- one item has all purchases.

WITH lengths AS (
    SELECT user_id, count(*) AS length FROM interactions GROUP BY user_id
), bought AS (
    SELECT item_id, count(user_id) AS purchases,
        row_number() OVER (ORDER BY count(user_id), item_id) AS place
    FROM items LEFT JOIN interactions USING (item_id)
    GROUP BY item_id
), trained AS (
    SELECT DISTINCT item_id FROM interactions WHERE split = 'train'
)
SELECT
    (SELECT count(*) FROM users) AS users,
    (SELECT count(*) FROM items) AS items,
    (SELECT count(*) FROM items ANTI JOIN trained USING (item_id)) AS items_never_trained,
    (SELECT count(*) FROM interactions) AS purchases,
    (SELECT count(*) FROM interactions) / greatest(1, (SELECT count(*) FROM users))
        / greatest(1, (SELECT count(*) FROM items)) AS density,
    (SELECT min(length) FROM lengths) AS shortest,
    (SELECT quantile_disc(length, 0.5) FROM lengths) AS median_length,
    (SELECT avg(length) FROM lengths) AS mean_length,
    (SELECT max(length) FROM lengths) AS longest,
    (SELECT CAST(min(timestamp) AS DATE) FROM interactions) AS first_day,
    (SELECT CAST(max(timestamp) AS DATE) FROM interactions) AS last_day,
    (SELECT avg(CAST(tied AS INTEGER)) FROM interactions) AS tied_share,
    (SELECT avg(CAST(tied AS INTEGER)) FROM interactions WHERE split = 'test') AS tied_test_share,
    (SELECT sum(purchases) FILTER (WHERE place > n - ceil(n / 10)) / sum(purchases)
     FROM bought, (SELECT count(*) AS n FROM bought)) AS top_share,
    (SELECT sum((2 * place - n - 1) * purchases) / (any_value(n) * sum(purchases))
     FROM bought, (SELECT count(*) AS n FROM bought)) AS gini;
