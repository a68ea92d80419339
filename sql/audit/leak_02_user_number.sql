-- user number: the user's number says which range of product numbers to look in
--
-- Where both users and products are numbered by first appearance, early users have low products:
-- `user_12` alone narrows the catalogue. The model reads both numbers.
--
-- grain: one row per figure, the correlation over users of the user's number with
--   the mean number of the training purchases, and with the number of the test purchase.
-- threshold: if user numbers say nothing, any order of the users is as likely as any other, and
-- the correlation then has mean 0 and standard deviation 1 / sqrt(users - 1), exactly. Beyond
-- five of them is a leak.

WITH per_user AS (
    SELECT user_id,
        avg(item_id) FILTER (WHERE split = 'train') AS trained,
        max(item_id) FILTER (WHERE split = 'test') AS test
    FROM interactions
    GROUP BY user_id
), figures AS (
    SELECT 1 AS place, 'mean product number in training' AS what,
        corr(user_id, trained) AS r, count(trained) AS users
    FROM per_user
    UNION ALL
    SELECT 2, 'product number of the test purchase', corr(user_id, test), count(test)
    FROM per_user
), bounded AS (
    SELECT *, CASE WHEN users > 1 THEN 5 / sqrt(users - 1) END AS bound
    FROM figures, facts
)
SELECT 'correlation with ' || what AS figure,
    'rate' AS unit,
    CASE WHEN items_numbered AND users_numbered THEN r END AS value,
    0.0 AS chance,
    CASE WHEN bound < 1 THEN bound END AS threshold,
    CASE WHEN NOT (items_numbered AND users_numbered) THEN 'not applicable'
         WHEN r IS NULL OR isnan(r) OR bound IS NULL OR bound >= 1 THEN 'too few to tell'
         WHEN abs(r) > bound THEN 'LEAK'
         ELSE 'clean' END AS verdict,
    CASE WHEN NOT (items_numbered AND users_numbered)
         THEN 'users or products have codes here, no numbers' END AS why
FROM bounded
ORDER BY place;
