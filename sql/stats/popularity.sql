-- One row per rank of items by purchases, the most bought first: how many purchases it has, and what
-- share of all purchases it and those before it have together.
-- Ranks are thinned to some thirty a power of ten, which is as fine as a picture shows.

WITH ranked AS (
    SELECT purchases, row_number() OVER (ORDER BY purchases DESC, item_id) AS rank
    FROM (SELECT item_id, count(user_id) AS purchases
          FROM items LEFT JOIN interactions USING (item_id) GROUP BY item_id)
), summed AS (
    SELECT rank, purchases, sum(purchases) OVER (ORDER BY rank) AS so_far,
        sum(purchases) OVER () AS all_purchases, count(*) OVER () AS items
    FROM ranked
)
SELECT rank, rank / items AS item_share, purchases, so_far / all_purchases AS purchase_share
FROM summed
WHERE rank = 1 OR rank = items
    OR floor(30 * log10(rank)) > floor(30 * log10(greatest(1, rank - 1)))
ORDER BY rank;
