-- One row per quantile of the items by purchases: how many purchases the item there has.

WITH bought AS (
    SELECT count(user_id) AS purchases
    FROM items LEFT JOIN interactions USING (item_id)
    GROUP BY item_id
)
SELECT unnest([0, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99, 1]) AS share,
    unnest(quantile_disc(purchases, [0, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99, 1])) AS purchases
FROM bought;
