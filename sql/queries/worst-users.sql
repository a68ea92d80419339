-- Which users does a run serve worst?
-- One row per user with a test item that no task and method has among its first ten, those with the
-- most training purchases first: there a model had most to go by. first_choices: what was ranked first.

WITH answers AS (
    SELECT p.user_id, i.item_id AS test_item, p.task, p.method,
        min(p.rank) FILTER (WHERE p.item_id = i.item_id) AS rank,
        any_value(p.item_id) FILTER (WHERE p.rank = 1) AS first_choice
    FROM predictions AS p JOIN interactions AS i USING (user_id, split)
    WHERE p.task <> 'explanation' AND p.split = 'test'
        AND p.method IN ('exact', 'exclude-seen', 'beam', 'pod')
    GROUP BY p.user_id, i.item_id, p.task, p.method
), missed AS (
    SELECT user_id, test_item,
        min(rank) AS best_rank,
        list(DISTINCT first_choice ORDER BY first_choice) AS first_choices
    FROM answers
    GROUP BY user_id, test_item
    HAVING count(*) FILTER (WHERE rank <= 10) = 0
)
SELECT user_id, len(train) AS training_purchases, test_item,
    (SELECT count(*) FROM interactions AS i
     WHERE i.split = 'train' AND i.item_id = test_item) AS test_item_bought,
    best_rank, first_choices, train AS history
FROM missed JOIN splits USING (user_id)
ORDER BY training_purchases DESC, best_rank DESC NULLS FIRST, user_id;
