-- One row per size of tie: how many purchases are in a tie of that size (1 is no tie; the last row is
-- 6 and more).
-- Empty where no times are known.

SELECT least(size, 6) AS size, CAST(sum(size) AS BIGINT) AS purchases
FROM (
    SELECT count(*) AS size FROM interactions
    WHERE timestamp IS NOT NULL
    GROUP BY user_id, timestamp
)
GROUP BY ALL
ORDER BY size;
