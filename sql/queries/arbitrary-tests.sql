-- Which users' test item is one of several bought at the same time?
-- One row per user whose split the tie policy decided, not the time: every item of at_once could be
-- the test item as well. share_of_users is how many such users there are, the same in each row.

WITH last_times AS (
    SELECT user_id, timestamp, list(item_id ORDER BY position) AS at_once
    FROM interactions
    GROUP BY user_id, timestamp
), tests AS (
    SELECT user_id, timestamp, item_id AS test_item FROM interactions WHERE split = 'test'
)
SELECT user_id, timestamp, test_item, at_once, len(at_once) AS purchases_at_once,
    count(*) OVER () / (SELECT count(*) FROM tests) AS share_of_users
FROM tests JOIN last_times USING (user_id, timestamp)
WHERE len(at_once) > 1
ORDER BY purchases_at_once DESC, user_id;
