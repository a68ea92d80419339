-- negatives: a list of negatives contains purchases of the user, has repeats, or is short
--
-- A bought product among the negatives may be the right answer, counted wrong. A repeated or
-- missing one leaves fewer to beat, which makes hits easier.
--
-- grain: one row per figure, the share of the frozen lists (validation and test) and of the
-- training lists. The full length is the one that most lists have; a small catalogue allows fewer,
-- and so do negatives by popularity or by time: then the length is not checked.
-- Training lists only have to avoid training purchases (see the check of absence).
-- threshold: none; one is too many.

WITH purchases AS MATERIALIZED (
    SELECT user_id, list_distinct(list(item_id)) AS bought,
        list_distinct(list(item_id) FILTER (WHERE split = 'train')) AS trained
    FROM interactions
    GROUP BY user_id
), frozen AS (
    SELECT list_has_any(item_ids, bought) AS wrong,
        len(list_distinct(item_ids)) <> len(item_ids) AS repeated,
        len(item_ids) <> (SELECT mode(len(item_ids)) FROM negatives)
            AND len(item_ids) <> (SELECT count(*) FROM items) - len(bought) AS short
    FROM negatives JOIN purchases USING (user_id)
), training AS (
    SELECT list_has_any(list_filter(candidates, lambda c: c <> item_id), trained) AS wrong
    FROM samples JOIN purchases USING (user_id)
    WHERE task = 'topn' AND split = 'train'
), figures AS (
    SELECT 1 AS place, 'frozen lists with a purchase of the user' AS figure,
        avg(wrong::INTEGER) AS value, 'no frozen negatives here' AS why
    FROM frozen
    UNION ALL
    SELECT 2, 'frozen lists with repeats', avg(repeated::INTEGER), 'no frozen negatives here'
    FROM frozen
    UNION ALL
    SELECT 3, 'frozen lists of another length',
        CASE WHEN any_value(full_lists) THEN avg(short::INTEGER) END,
        CASE WHEN count(short) > 0 THEN 'lists by popularity or time differ in length'
             ELSE 'no frozen negatives here' END
    FROM frozen, facts
    UNION ALL
    SELECT 4, 'training lists with a training purchase', avg(wrong::INTEGER),
        'no training negatives are stored here'
    FROM training
)
SELECT figure,
    'percent' AS unit,
    value,
    0.0 AS chance,
    0.0 AS threshold,
    CASE WHEN value IS NULL THEN 'not applicable' WHEN value > 0 THEN 'LEAK' ELSE 'clean' END
        AS verdict,
    CASE WHEN value IS NULL THEN why END AS why
FROM figures
ORDER BY place;

SELECT format('user {} bought item {}, and has it among the {} negatives', user_id, i.item_id, n.split)
    AS example
FROM negatives AS n JOIN interactions AS i USING (user_id)
WHERE list_contains(n.item_ids, i.item_id)
ORDER BY user_id, n.split, position
LIMIT 5;
