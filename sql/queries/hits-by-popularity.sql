-- Does a run only find popular items?
-- One row per task, split, method and popularity class of the held-out item, which goes by the
-- purchases in training. hit@10 and ndcg@10 as in hits-by-history-length.

WITH answers AS (
    SELECT p.task, p.split, p.method, p.user_id, any_value(i.item_id) AS item_id,
        min(p.rank) FILTER (WHERE p.item_id = i.item_id AND p.rank <= 10) AS rank
    FROM predictions AS p JOIN interactions AS i USING (user_id, split)
    WHERE p.task <> 'explanation'
    GROUP BY p.task, p.split, p.method, p.user_id
), bought AS (
    SELECT item_id, count(*) AS purchases FROM interactions WHERE split = 'train' GROUP BY item_id
), classed AS (
    SELECT answers.*, coalesce(purchases, 0) AS purchases
    FROM answers LEFT JOIN bought USING (item_id)
)
SELECT task, split, method,
    CASE WHEN purchases = 0 THEN 'never' WHEN purchases <= 5 THEN '1 to 5'
         WHEN purchases <= 10 THEN '6 to 10' WHEN purchases <= 20 THEN '11 to 20'
         WHEN purchases <= 50 THEN '21 to 50' ELSE '51 or more' END AS bought_in_training,
    count(*) AS users,
    count(DISTINCT item_id) AS items,
    count(rank) / count(*) AS "hit@10",
    coalesce(sum(1 / log2(rank + 1)), 0) / count(*) AS "ndcg@10"
FROM classed
GROUP BY ALL
ORDER BY task, split, method, min(purchases);
