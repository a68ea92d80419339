-- explanations: one row per purchase whose review explains it.   key: (split, number)
--
-- in: sentences(line_number, feature, sentence)
--
--   clean   an explanation belongs to the split of its purchase, so that no validation or test
--           purchase is ever trained on, by any task;
--   pod     8:1:1 at random, whatever the other tasks hold out, which trains on about four of
--           five test purchases.
-- number counts from 1 within a split, in order of user and position.

CREATE TABLE explanations AS
WITH divided AS (
    SELECT user_id, position, item_id, feature, sentence,
        CASE WHEN (SELECT protocol FROM options) = 'clean' THEN split
             ELSE CASE draw(key('explanation-split', user_id, position), 1, 10)
                  WHEN 8 THEN 'valid' WHEN 9 THEN 'test' ELSE 'train' END END AS split
    FROM sentences JOIN interactions USING (line_number)
)
SELECT row_number() OVER (PARTITION BY split ORDER BY user_id, position) AS number,
    split, user_id, position, item_id, feature, sentence
FROM divided
ORDER BY split, number;

-- without the task nothing was searched, and there is nothing to account for
INSERT INTO stages
FROM (
    SELECT 'explain', 'in', count(*) FROM interactions
    UNION ALL
    SELECT 'explain', split, count(*) FROM explanations GROUP BY split
    UNION ALL
    SELECT 'explain',
        CASE WHEN coalesce(trim(text), '') = '' THEN 'no text' ELSE 'no sentence about a feature' END,
        count(*)
    FROM interactions JOIN parsed USING (line_number)
    WHERE line_number NOT IN (SELECT line_number FROM sentences)
    GROUP BY ALL
)
WHERE (SELECT explained FROM options);
