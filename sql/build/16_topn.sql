-- One part of the top-N task: which of these candidates?   key: sample_id
--
-- in: drawn (14_negatives.sql), the positive and the negatives of the part's users.
-- The candidates are the negatives, already in random order, with the positive put in at a
-- drawn place: the same as shuffling them all.

WITH placed AS (
    SELECT drawn.*,
        draw(key('place/' || split, user_id, round), 1, len(item_ids) + 1) AS before,
        draw(key('template/topn', user_id, round), 1, templates) AS template
    FROM drawn, (SELECT count(*) AS templates FROM templates WHERE task = 'topn')
), listed AS (
    SELECT *, list_concat(item_ids[1:before], [item_id], item_ids[before + 1:]) AS candidates
    FROM placed
)
SELECT sample_id('topn', split, round, user_id) AS sample_id,
    user_id,
    item_id,
    template_id,
    replace(replace(text, '{user}', 'user_' || user_id),
        '{candidates}', 'item_' || array_to_string(candidates, ' item_')) AS prompt,
    CAST(item_id AS VARCHAR) AS target,
    candidates
FROM listed JOIN templates ON templates.task = 'topn'
    AND CASE split WHEN 'train' THEN templates.place = listed.template ELSE templates.bare END
ORDER BY user_id;
