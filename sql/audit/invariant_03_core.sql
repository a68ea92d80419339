-- core: every user and every product has at least --core purchases
--
-- grain: one row per fault. An import has core 1 and may have products that nobody bought.

SELECT format('user {} has {} purchases', user_id, count(position)) AS fault
FROM users LEFT JOIN interactions USING (user_id), options
GROUP BY user_id, core, imported
HAVING count(position) < core AND NOT imported
UNION ALL
SELECT format('item {} has {} purchases', item_id, count(position))
FROM items LEFT JOIN interactions USING (item_id), options
GROUP BY item_id, core, imported
HAVING count(position) < core AND NOT imported;
