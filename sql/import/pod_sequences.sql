-- given:   one row per line of sequential.txt, `user item item ...`, all numbers.   key: line_number
-- ordered: one row per purchase, in the order in which the line has it.   key: (reviewer_id, position)
-- users, items: the names of datamaps.json, else the numbers as names.  key: user_id; item_id
--
-- in: lines(line_number, line, problem); names(kind user|item, number, name), empty where the
--     folder has no datamaps.json
-- The layout has no times and no ratings: those stay NULL, and so does `tied`.
-- given.reason says what is wrong with a line; the import stops at the first.

CREATE TABLE given AS
WITH numbered AS (
    SELECT line_number, problem,
        CASE WHEN regexp_full_match(trim(line, E' \t\r\n'), '[0-9]{1,9}([ \t]+[0-9]{1,9})*')
             THEN CAST(string_split_regex(trim(line, E' \t\r\n'), '[ \t]+') AS INTEGER[])
             END AS numbers
    FROM lines
    WHERE trim(line, E' \t\r\n') <> ''
)
SELECT line_number, numbers[1] AS user_id, numbers[2:] AS items,
    CASE
        WHEN problem IS NOT NULL THEN problem
        WHEN numbers IS NULL THEN 'is no ''user item item ...'' of numbers'
        WHEN len(numbers) < 2 THEN 'has a user and no item'
        WHEN list_contains(numbers, 0) THEN 'has the number 0; numbers count from 1'
        -- a typing error rather than a catalogue of items that nobody bought
        WHEN list_max(numbers) > 1000 + 100 * sum(len(numbers)) OVER ()
            THEN 'has the number ' || list_max(numbers) || ', far beyond what else is there'
        WHEN row_number() OVER (PARTITION BY numbers[1] ORDER BY line_number) > 1
            THEN 'has user ' || numbers[1] || ' a second time'
    END AS reason
FROM numbered
ORDER BY line_number;

CREATE TABLE users AS
SELECT CAST(number AS INTEGER) AS user_id, name AS reviewer_id FROM names WHERE kind = 'user'
UNION ALL
SELECT user_id, CAST(user_id AS VARCHAR) FROM given
WHERE reason IS NULL AND NOT EXISTS (FROM names WHERE kind = 'user')
ORDER BY user_id;

CREATE TABLE items AS
SELECT CAST(number AS INTEGER) AS item_id, name AS asin FROM names WHERE kind = 'item'
UNION ALL
SELECT CAST(n AS INTEGER), CAST(n AS VARCHAR)
FROM range(1, 1 + (SELECT max(list_max(items)) FROM given WHERE reason IS NULL)) AS r(n)
WHERE NOT EXISTS (FROM names WHERE kind = 'item')
ORDER BY item_id;

CREATE TABLE ordered AS
SELECT CAST(NULL AS BIGINT) AS line_number, reviewer_id, asin,
    CAST(NULL AS FLOAT) AS rating, CAST(NULL AS BIGINT) AS time_ms,
    position, CAST(NULL AS BOOLEAN) AS tied
FROM (
    SELECT user_id, unnest(items) AS item_id,
        CAST(unnest(range(1, len(items) + 1)) AS INTEGER) AS position
    FROM given
    WHERE reason IS NULL
) JOIN users USING (user_id) JOIN items USING (item_id);

INSERT INTO stages
SELECT 'read', 'in', sum(len(items)) FROM given
UNION ALL
SELECT 'read', 'kept', count(*) FROM ordered;
