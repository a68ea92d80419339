-- users: one row per user.    key: user_id (1, 2, ...), reviewer_id
-- items: one row per product.   key: item_id (1, 2, ...), asin
--
--   clean   by keyed hash: the number means nothing;
--   pod     users by first appearance in the dump, products by first appearance along the users'
--           sequences, test purchase included: neighbours in a sequence get neighbouring numbers,
--           which is the numbering leak.

CREATE TABLE users AS
SELECT CAST(row_number() OVER (
        ORDER BY CASE WHEN (SELECT protocol FROM options) = 'clean'
                      THEN key('user', reviewer_id, NULL) END, first_line) AS INTEGER) AS user_id,
    reviewer_id
FROM (
    -- the first appearance counts over the whole dump, even if the k-core dropped that line
    SELECT reviewer_id, min(line_number) AS first_line
    FROM parsed
    WHERE reason IS NULL AND reviewer_id IN (SELECT reviewer_id FROM ordered)
    GROUP BY reviewer_id
)
ORDER BY user_id;

CREATE TABLE items AS
SELECT CAST(row_number() OVER (
        ORDER BY CASE WHEN (SELECT protocol FROM options) = 'clean'
                      THEN key('item', asin, NULL) END, first_seen) AS INTEGER) AS item_id,
    asin
FROM (
    SELECT asin, min(user_id * 4294967296 + position) AS first_seen
    FROM ordered JOIN users USING (reviewer_id)
    GROUP BY asin
)
ORDER BY item_id;
