-- How many purchases do users have?
-- One row per length, which counts the validation and the test purchase.

SELECT length,
    count(*) AS users,
    count(*) / sum(count(*)) OVER () AS share,
    sum(count(*)) OVER (ORDER BY length) / sum(count(*)) OVER () AS share_up_to
FROM (SELECT user_id, count(*) AS length FROM interactions GROUP BY user_id)
GROUP BY length
ORDER BY length;
