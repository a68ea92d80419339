-- What share of the purchases goes to the most popular items?
-- One row per twentieth of the catalogue, the most popular first, by purchases in training.

WITH bought AS (
    SELECT item_id, count(i.item_id) AS purchases
    FROM items LEFT JOIN (SELECT item_id FROM interactions WHERE split = 'train') AS i
        USING (item_id)
    GROUP BY item_id
), ranked AS (
    SELECT purchases, ntile(20) OVER (ORDER BY purchases DESC, item_id) AS twentieth
    FROM bought
)
SELECT twentieth,
    count(*) AS items,
    max(purchases) AS most,
    min(purchases) AS fewest,
    CAST(sum(purchases) AS BIGINT) AS purchases,
    sum(purchases) / sum(sum(purchases)) OVER () AS share,
    sum(sum(purchases)) OVER (ORDER BY twentieth) / sum(sum(purchases)) OVER () AS share_up_to
FROM ranked
GROUP BY twentieth
ORDER BY twentieth;
