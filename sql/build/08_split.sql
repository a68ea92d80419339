-- interactions: one row per purchase, in order.   key: (user_id, position)
-- sequences:    one row per user.               key: user_id
--
-- Leave one out, the same split for every task: a user's last purchase is for test, the
-- one before it for validation, the rest for training. A user with fewer than three purchases is
-- only trained on. line_number leads back to the dump and stays inside the build.

CREATE TABLE interactions AS
SELECT user_id, position, item_id, epoch_ms(time_ms) AS timestamp, rating, tied,
    CASE WHEN length >= 3 AND position = length THEN 'test'
         WHEN length >= 3 AND position = length - 1 THEN 'valid'
         ELSE 'train' END AS split,
    line_number
FROM (
    SELECT *, count(*) OVER (PARTITION BY user_id) AS length
    FROM ordered JOIN users USING (reviewer_id) JOIN items USING (asin)
)
ORDER BY user_id, position;

CREATE TABLE sequences AS
SELECT user_id,
    list(item_id ORDER BY position) AS items,
    list(timestamp ORDER BY position) AS times,
    count(*) AS length,
    count(*) FILTER (WHERE split = 'train') AS train_length
FROM interactions
GROUP BY user_id
ORDER BY user_id;

INSERT INTO stages
SELECT 'split', 'in', count(*) FROM ordered
UNION ALL
SELECT 'split', split, count(*) FROM interactions GROUP BY split;
