-- One row per length of sequence, validation and test purchases included: how many users have it.

SELECT length, count(*) AS users
FROM (SELECT count(*) AS length FROM interactions GROUP BY user_id)
GROUP BY length
ORDER BY length;
