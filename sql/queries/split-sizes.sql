-- How large are the splits?
-- One row per split.

SELECT split,
    count(*) AS purchases,
    count(DISTINCT user_id) AS users,
    count(DISTINCT item_id) AS items,
    min(timestamp) AS earliest,
    max(timestamp) AS latest
FROM interactions
GROUP BY split
ORDER BY purchases DESC, split;
