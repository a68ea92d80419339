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
), worded AS (
    SELECT *, split_part(text, '{candidates}', 1) AS head,
        split_part(text, '{candidates}', 2) AS tail
    FROM templates
    WHERE task = 'topn'
)
SELECT sample_id('topn', split, round, user_id) AS sample_id,
    user_id,
    item_id,
    template_id,
    concat(replace(head, '{user}', 'user_' || user_id), 'item_',
        array_to_string(candidates, ' item_'),
        replace(tail, '{user}', 'user_' || user_id)) AS prompt,
    CAST(item_id AS VARCHAR) AS target,
    candidates
FROM listed JOIN worded
    ON CASE split WHEN 'train' THEN worded.place = listed.template ELSE worded.bare END
ORDER BY user_id;
