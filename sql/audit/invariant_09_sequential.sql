-- sequential: history and target are consecutive purchases of the user
--
-- grain: one row per fault.
--   train         any consecutive training purchases, at least two, at most --history before the target;
--   valid, test   the held-out purchase, and the last --history before it.

WITH checked AS (
    SELECT sample_id, split, item_id, target, samples.history AS before, s.items, trained, length,
        CASE split WHEN 'train' THEN trained WHEN 'valid' THEN s.items[:length - 1] ELSE s.items END
            AS purchases,
        options.history AS longest
    FROM samples LEFT JOIN sequences AS s USING (user_id), options
    WHERE task = 'sequential'
)
SELECT format('sample {} ({}): {} after {}', sample_id, split, target, before) AS fault
FROM checked
WHERE purchases IS NULL OR before IS NULL OR len(before) = 0 OR len(before) > longest
   OR target IS DISTINCT FROM CAST(item_id AS VARCHAR)
   OR CASE split
      WHEN 'train' THEN len(list_filter(range(len(before) + 1, len(purchases) + 1), lambda last:
              purchases[last] = item_id AND purchases[last - len(before):last - 1] = before)) = 0
      ELSE purchases[-1] <> item_id OR purchases[greatest(1, len(purchases) - longest):len(purchases) - 1] <> before END;
