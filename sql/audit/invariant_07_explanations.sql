-- explanations: each belongs to a purchase; clean, to the split of that purchase
--
-- grain: one row per fault.

WITH splits_of AS (
    SELECT user_id, item_id, list(split) AS splits FROM interactions GROUP BY user_id, item_id
)
SELECT format('user {} item {}: {}', user_id, item_id, CASE
        WHEN splits IS NULL THEN 'explained, but not bought'
        WHEN coalesce(trim(sentence), '') = '' OR coalesce(trim(feature), '') = ''
            THEN 'no sentence or no feature'
        ELSE format('bought in {}, explained in {}', splits[1], coalesce(split, 'NULL')) END)
    AS fault
FROM explanations LEFT JOIN splits_of USING (user_id, item_id), options
WHERE splits IS NULL OR coalesce(trim(sentence), '') = '' OR coalesce(trim(feature), '') = ''
   OR split IS NULL OR split NOT IN ('train', 'valid', 'test')
   OR protocol = 'clean' AND NOT list_contains(splits, split);
