-- One part of the sequential task: given the history so far, what comes next?   key: sample_id
--
-- in: part(split, round, first_row, last_row), rows being user_id
--
-- train   one segment per user and round, as the published loop draws it (start uniform over all
--         but the last training purchase, end uniform after the start): the last item of the
--         segment is the target, at most `history` before it are the history. Users with fewer
--         than two training purchases have no segment. With --segments prefix: a
--         sample for each purchase but the first, all before it being the history; the latest
--         thousand purchases of a user.
-- valid, test   the target is the held-out purchase, the history the last `history` before it;
--         only the bare template, because at inference the soft prompt stands for the words.

WITH drawn_segment AS (
    SELECT user_id, split, round, items, length, train_length, history AS longest,
        key('segment', user_id, round) AS draws,
        CASE segments WHEN 'prefix' THEN 0
                      ELSE draw(key('segment', user_id, round), 1, train_length - 1) END AS start,
        segments,
        back,
        draw(key('template/sequential', user_id, round + 1000 * back), 1, templates) AS template
    FROM sequences, part, options,
        (SELECT count(*) AS templates FROM templates WHERE task = 'sequential'),
        unnest(CASE WHEN split = 'train' AND segments = 'prefix'
                    THEN range(least(train_length - 1, 1000)) ELSE [0] END) AS places(back)
    WHERE user_id BETWEEN first_row AND last_row
      AND CASE split WHEN 'train' THEN train_length >= 2 ELSE length >= 3 END
), segment AS (
    SELECT *,
        CASE split WHEN 'train' THEN 1 + start ELSE 1 END AS first,
        CASE split WHEN 'train' THEN CASE segments
                       WHEN 'prefix' THEN train_length - back
                       ELSE 2 + start + draw(draws, 2, train_length - 1 - start) END
                   WHEN 'valid' THEN length - 1
                   ELSE length END AS last
    FROM drawn_segment
), cut AS (
    SELECT user_id, split, round, template, back, items[last] AS item_id,
        items[greatest(first, last - longest):last - 1] AS history
    FROM segment
)
SELECT sample_id('sequential', split, round, back * 10000000 + user_id) AS sample_id,
    user_id,
    item_id,
    template_id,
    replace(replace(text, '{user}', 'user_' || user_id),
        '{history}', 'item_' || array_to_string(history, ' item_')) AS prompt,
    CAST(item_id AS VARCHAR) AS target,
    history
FROM cut JOIN templates ON templates.task = 'sequential'
    AND CASE split WHEN 'train' THEN templates.place = cut.template ELSE templates.bare END
ORDER BY user_id, back;
