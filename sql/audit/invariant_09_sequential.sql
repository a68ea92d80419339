-- sequential: history and target are a run of the user's purchases
--
-- grain: one row a fault.
--   train         any run of at least two training purchases, at most --history before the target;
--   valid, test   the held-out purchase, and the last --history before it.

WITH asked AS (
    SELECT sample_id, split, item_id, target, samples.history AS before, s.items, trained, length,
        CASE split WHEN 'train' THEN trained WHEN 'valid' THEN s.items[:length - 1] ELSE s.items END
            AS own,
        options.history AS longest
    FROM samples LEFT JOIN sequences AS s USING (user_id), options
    WHERE task = 'sequential'
)
SELECT format('sample {} ({}): {} after {}', sample_id, split, target, before) AS fault
FROM asked
WHERE own IS NULL OR before IS NULL OR len(before) = 0 OR len(before) > longest
   OR target IS DISTINCT FROM CAST(item_id AS VARCHAR)
   OR CASE split
      WHEN 'train' THEN len(list_filter(range(len(before) + 1, len(own) + 1), lambda last:
              own[last] = item_id AND own[last - len(before):last - 1] = before)) = 0
      ELSE own[-1] <> item_id OR own[greatest(1, len(own) - longest):len(own) - 1] <> before END;
