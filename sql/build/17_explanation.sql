-- One part of the explanation task: why this product for this user?   key: sample_id
--
-- in: explanations(number, split, user_id, item_id, feature, sentence);
--     part(split, round, first_row, last_row), rows being the number of the explanation
--
-- A round draws nothing but the template.

WITH templated AS (
    SELECT e.*, round,
        draw(key('template/explanation', number, round), 1, templates) AS template
    FROM explanations AS e, part,
        (SELECT count(*) AS templates FROM templates WHERE task = 'explanation')
    WHERE number BETWEEN first_row AND last_row AND e.split = part.split
)
SELECT sample_id('explanation', split, round, number) AS sample_id,
    user_id,
    item_id,
    template_id,
    replace(replace(text, '{user}', 'user_' || user_id), '{item}', 'item_' || item_id) AS prompt,
    sentence AS target
FROM templated JOIN templates ON templates.task = 'explanation'
    AND CASE split WHEN 'train' THEN templates.place = templated.template
                   ELSE templates.bare END
ORDER BY number;
