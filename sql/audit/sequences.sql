-- sequences: one row per user, the purchases as a list.   key: user_id
--
-- What several invariants need of the catalogue, computed once.

CREATE TABLE sequences AS
SELECT user_id,
    list(item_id ORDER BY position) AS items,
    list(item_id ORDER BY position) FILTER (WHERE split = 'train') AS trained,
    count(*) AS length,
    count(*) FILTER (WHERE split = 'train') AS train_length
FROM interactions
GROUP BY user_id;
