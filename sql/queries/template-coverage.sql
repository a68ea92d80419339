-- How often is each template used?
-- One row per template; share is its part of the training samples of its task. Validation and test
-- take the bare ones only.

SELECT t.task, t.template_id, t.bare,
    count(*) FILTER (WHERE split = 'train') AS train,
    count(*) FILTER (WHERE split = 'train')
        / nullif(sum(count(*) FILTER (WHERE split = 'train')) OVER (PARTITION BY t.task), 0)
        AS share,
    count(DISTINCT user_id) FILTER (WHERE split = 'train') AS train_users,
    count(*) FILTER (WHERE split = 'valid') AS valid,
    count(*) FILTER (WHERE split = 'test') AS test
FROM templates AS t LEFT JOIN samples USING (template_id)
GROUP BY t.task, t.template_id, t.bare
ORDER BY t.task, t.bare, t.template_id;
