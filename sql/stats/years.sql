-- One row per year with purchases: purchases, users and items of that year.
-- Empty where no times are known.

SELECT year(timestamp) AS year, count(*) AS purchases,
    count(DISTINCT user_id) AS users, count(DISTINCT item_id) AS items
FROM interactions
WHERE timestamp IS NOT NULL
GROUP BY ALL
ORDER BY year;
