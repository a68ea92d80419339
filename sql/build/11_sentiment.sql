-- sentences: one row per purchase that the sentiment file explains.   key: line_number
--
-- in: sentiment(record, reviewer_id, asin, feature, sentence), extracted by another tool;
--     unusable(record, reason), what in the file could not be used
-- Runs instead of 09 and 10 where --sentiment was given. The first explanation of a purchase in the
-- file counts.

INSERT INTO sentences
SELECT line_number, feature, sentence
FROM sentiment
    JOIN users USING (reviewer_id) JOIN items USING (asin)
    JOIN interactions USING (user_id, item_id)
QUALIFY row_number() OVER (PARTITION BY user_id, item_id ORDER BY record, position) = 1;

INSERT INTO stages
SELECT 'sentiment', 'in', (SELECT count(*) FROM sentiment) + (SELECT count(*) FROM unusable)
UNION ALL
SELECT 'sentiment', 'kept', count(*) FROM sentences
UNION ALL
SELECT 'sentiment', reason, count(*) FROM unusable GROUP BY reason
UNION ALL
SELECT 'sentiment', 'no such purchase, or explained before',
    (SELECT count(*) FROM sentiment) - (SELECT count(*) FROM sentences);
