-- One row a size of tie: how many purchases share their time with so many others of their user,
-- themselves counted (1 is no tie; the last row is 6 and more).
-- Empty where no times are known.

SELECT least(size, 6) AS size, CAST(sum(size) AS BIGINT) AS purchases
FROM (
    SELECT count(*) AS size FROM interactions
    WHERE timestamp IS NOT NULL
    GROUP BY user_id, timestamp
)
GROUP BY ALL
ORDER BY size;
