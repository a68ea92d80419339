-- negatives: one frozen list per user and held-out split; distinct products that the user never bought
--
-- grain: one row per fault. Drawn uniformly a list is full, as far as the catalogue allows; by
-- popularity or by time there may be fewer to draw from. An import keeps the lists it came with.

WITH lists AS (
    SELECT n.user_id, n.split, n.item_ids, s.items, coalesce(s.length >= 3, false) AS due,
        options.*, (SELECT count(*) FROM items) AS catalogue
    FROM negatives AS n LEFT JOIN sequences AS s USING (user_id), options
)
SELECT format('user {} {}: {}', user_id, split, CASE
        WHEN item_ids IS NULL THEN 'no list'
        WHEN NOT due OR split NOT IN ('valid', 'test') THEN 'nothing is held out'
        WHEN list_has_any(item_ids, items) THEN 'a product that the user bought'
        WHEN len(list_distinct(item_ids)) <> len(item_ids) THEN 'a product twice'
        WHEN len(item_ids) > negatives THEN format('{} products', len(item_ids))
        ELSE format('only {} products', len(item_ids)) END) AS fault
FROM lists
WHERE item_ids IS NULL OR NOT due OR split NOT IN ('valid', 'test')
   OR list_has_any(item_ids, items)
   OR len(list_distinct(item_ids)) <> len(item_ids)
   OR NOT imported AND len(item_ids) > negatives
   OR NOT imported AND negative_sampling = 'uniform'
      AND len(item_ids) < least(negatives, catalogue - len(list_distinct(items)))
UNION ALL
SELECT format('user {} {}: item {} is not in the catalogue', user_id, split, item_id)
FROM (SELECT user_id, split, unnest(item_ids) AS item_id FROM negatives)
WHERE item_id IS NULL OR item_id NOT IN (SELECT item_id FROM items)
UNION ALL
SELECT format('user {} {}: {} lists', user_id, split, count(n.user_id))
FROM (SELECT user_id, unnest(['valid', 'test']) AS split FROM sequences WHERE length >= 3)
    LEFT JOIN (SELECT user_id, split FROM negatives) AS n USING (user_id, split)
GROUP BY user_id, split
HAVING count(n.user_id) <> 1;
