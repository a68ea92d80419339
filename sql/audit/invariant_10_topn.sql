-- topn: the target is once among distinct products not bought; validation and test use the frozen lists
--
-- grain: one row per fault. In training, what the user did not buy in training (clean) or not at
-- all (pod).

WITH checked AS (
    SELECT sample_id, user_id, split, item_id, target, candidates, n.item_ids AS frozen,
        CASE split WHEN 'train' THEN trained WHEN 'valid' THEN items[length - 1:length - 1]
             ELSE items[length:] END AS targets,
        CASE WHEN split = 'train' AND protocol = 'clean' THEN trained ELSE items END AS purchases,
        list_filter(candidates, lambda c: c <> item_id) AS others,
        negatives AS most, imported
    FROM samples LEFT JOIN sequences USING (user_id)
        LEFT JOIN (FROM negatives) AS n USING (user_id, split), options
    WHERE task = 'topn'
)
SELECT format('sample {} ({}): {}', sample_id, split, CASE
        WHEN candidates IS NULL OR len(others) <> len(candidates) - 1
            THEN 'the target is not there exactly once'
        WHEN targets IS NULL OR NOT list_contains(targets, item_id)
            OR target IS DISTINCT FROM CAST(item_id AS VARCHAR) THEN 'another target'
        WHEN list_has_any(others, purchases) THEN 'a candidate that the user bought'
        WHEN len(list_distinct(candidates)) <> len(candidates) THEN 'a candidate twice'
        WHEN split <> 'train' THEN 'other candidates than the frozen ones'
        ELSE 'too many candidates' END) AS fault
FROM checked
WHERE candidates IS NULL OR len(others) <> len(candidates) - 1
   OR targets IS NULL OR NOT list_contains(targets, item_id)
   OR target IS DISTINCT FROM CAST(item_id AS VARCHAR)
   OR list_has_any(others, purchases) OR len(list_distinct(candidates)) <> len(candidates)
   OR split <> 'train' AND others IS DISTINCT FROM frozen
   OR NOT imported AND len(others) > most
UNION ALL
SELECT format('item {} is a candidate, but not in the catalogue', item_id)
FROM (SELECT DISTINCT unnest(candidates) AS item_id FROM samples WHERE task = 'topn')
WHERE item_id IS NULL OR item_id NOT IN (SELECT item_id FROM items);
