-- One part of the sequential task: given the history so far, what comes next?   key: sample_id
--
-- in: part(split, round, first_row, last_row), rows being user_id
--
-- train   one segment per user and round, as the published loop draws it (start uniform over all
--         but the last training purchase, end uniform after the start): the last item of the
--         segment is the target, at most `history` before it are the history. Users with fewer
--         than two training purchases have no segment.
-- valid, test   the target is the held-out purchase, the history the last `history` before it;
--         only the bare template, because at inference the soft prompt stands for the words.

WITH drawn_segment AS (
    SELECT user_id, split, round, items, length, train_length, history AS longest,
        key('segment', user_id, round) AS draws,
        draw(key('segment', user_id, round), 1, train_length - 1) AS start,
        draw(key('template/sequential', user_id, round), 1, templates) AS template
    FROM sequences, part, options,
        (SELECT count(*) AS templates FROM templates WHERE task = 'sequential')
    WHERE user_id BETWEEN first_row AND last_row
      AND CASE split WHEN 'train' THEN train_length >= 2 ELSE length >= 3 END
), segment AS (
    SELECT *,
        CASE split WHEN 'train' THEN 1 + start ELSE 1 END AS first,
        CASE split WHEN 'train' THEN 2 + start + draw(draws, 2, train_length - 1 - start)
                   WHEN 'valid' THEN length - 1
                   ELSE length END AS last
    FROM drawn_segment
), cut AS (
    SELECT user_id, split, round, template, items[last] AS item_id,
        items[greatest(first, last - longest):last - 1] AS history
    FROM segment
)
SELECT sample_id('sequential', split, round, user_id) AS sample_id,
    user_id,
    item_id,
    template_id,
    replace(replace(text, '{user}', 'user_' || user_id),
        '{history}', 'item_' || array_to_string(history, ' item_')) AS prompt,
    CAST(item_id AS VARCHAR) AS target,
    history
FROM cut JOIN templates ON templates.task = 'sequential'
    AND CASE split WHEN 'train' THEN templates.place = cut.template ELSE templates.bare END
ORDER BY user_id;
