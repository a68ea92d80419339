-- What does one user look like in every task?
-- One row per sample of the user: --param user=12, or in another client SET VARIABLE user = 12.

SELECT task, split, round, template_id, prompt, target
FROM samples
WHERE user_id = coalesce(getvariable('user'), 1)
ORDER BY task, CASE split WHEN 'train' THEN 1 WHEN 'valid' THEN 2 ELSE 3 END, round, sample_id;
