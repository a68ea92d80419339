-- Does a run do better for users with more training purchases?
-- One row per task, split, method and length class. hit@10: the held-out item is among the first
-- ten; ndcg@10: the earlier the better. Text that names no item is a miss.

WITH answers AS (
    SELECT p.task, p.split, p.method, p.user_id,
        min(p.rank) FILTER (WHERE p.item_id = i.item_id AND p.rank <= 10) AS rank
    FROM predictions AS p JOIN interactions AS i USING (user_id, split)
    WHERE p.task <> 'explanation'
    GROUP BY p.task, p.split, p.method, p.user_id
), lengths AS (
    SELECT user_id, count(*) AS length FROM interactions WHERE split = 'train' GROUP BY user_id
)
SELECT task, split, method,
    CASE WHEN length <= 3 THEN '1 to 3' WHEN length <= 6 THEN '4 to 6'
         WHEN length <= 12 THEN '7 to 12' WHEN length <= 25 THEN '13 to 25'
         ELSE '26 or more' END AS training_purchases,
    count(*) AS users,
    count(rank) / count(*) AS "hit@10",
    coalesce(sum(1 / log2(rank + 1)), 0) / count(*) AS "ndcg@10"
FROM answers JOIN lengths USING (user_id)
GROUP BY ALL
ORDER BY task, split, method, min(length);
