-- explanations: one row per entry of explanation.json about a purchase.   key: (split, number)
--
-- in: entries(entry, split, user, item, feature, sentence); interactions
-- Their split stays as it is, whatever the other tasks hold out. Entries that name no purchase, or
-- no feature or sentence, are rejected and counted; `line_number` is then the entry's, from 1.

CREATE TABLE placed AS
SELECT entries.*, position,
    CASE
        WHEN user IS NULL OR item IS NULL THEN 'no numbers of a user and an item'
        WHEN trim(coalesce(feature, '')) = '' THEN 'no feature'
        WHEN trim(coalesce(sentence, '')) = '' THEN 'no explanation'
        WHEN position IS NULL THEN 'no such purchase'
    END AS reason
FROM entries LEFT JOIN (
    SELECT user_id AS user, item_id AS item, min(position) AS position
    FROM interactions GROUP BY user_id, item_id
) USING (user, item);

CREATE TABLE explanations AS
SELECT row_number() OVER (PARTITION BY split ORDER BY user, position, entry) AS number,
    split, CAST(user AS INTEGER) AS user_id, position, CAST(item AS INTEGER) AS item_id,
    feature, sentence
FROM placed
WHERE reason IS NULL
ORDER BY user_id, position, entry;

INSERT INTO rejects
SELECT entry, reason, to_json({user: user, item: item, explanation: sentence, feature: feature})
FROM placed
WHERE reason IS NOT NULL
ORDER BY entry;

INSERT INTO stages
SELECT 'explain', 'in', count(*) FROM entries
UNION ALL
SELECT 'explain', split, count(*) FROM explanations GROUP BY split
UNION ALL
SELECT 'explain', reason, count(*) FROM placed WHERE reason IS NOT NULL GROUP BY reason;
