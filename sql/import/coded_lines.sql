-- given:   one row per line of `user item item ...`, of any codes.                key: line_number
-- ordered: one row per purchase, in the order in which the line has it.   key: (reviewer_id, position)
-- users, items: codes that are distinct numbers are the ids, others are numbered by first
--     appearance.                                                       key: user_id; item_id
--
-- in: lines(line_number, line, problem)
-- The layout has no times and no ratings. given.reason says what is wrong with a line.

CREATE TABLE given AS
WITH cut AS (
    SELECT line_number, problem,
        string_split_regex(trim(line, E' \t\r\n'), '[ \t]+') AS words
    FROM lines
    WHERE trim(line, E' \t\r\n') <> ''
)
SELECT line_number, words[1] AS reviewer_id, words[2:] AS asins,
    CASE
        WHEN problem IS NOT NULL THEN problem
        WHEN len(words) < 2 THEN 'has a user and no item'
        WHEN row_number() OVER (PARTITION BY words[1] ORDER BY line_number) > 1
            THEN 'has user ' || words[1][:40] || ' a second time'
    END AS reason
FROM cut
ORDER BY line_number;

CREATE TABLE ordered AS
SELECT line_number, reviewer_id, unnest(asins) AS asin,
    CAST(NULL AS FLOAT) AS rating, CAST(NULL AS BIGINT) AS time_ms,
    CAST(unnest(range(1, len(asins) + 1)) AS INTEGER) AS position, CAST(NULL AS BOOLEAN) AS tied
FROM given
WHERE reason IS NULL;

CREATE MACRO is_number(code) AS regexp_full_match(code, '[0-9]{1,9}');

CREATE TABLE users AS
WITH placed AS (
    SELECT reviewer_id, CAST(row_number() OVER (ORDER BY line_number) AS INTEGER) AS place
    FROM given
    WHERE reason IS NULL
), judged AS (
    SELECT bool_and(is_number(reviewer_id))
        AND count(DISTINCT TRY_CAST(reviewer_id AS INTEGER)) = count(*) AS numbered
    FROM placed
)
SELECT CASE WHEN numbered THEN CAST(reviewer_id AS INTEGER) ELSE place END AS user_id, reviewer_id
FROM placed, judged
ORDER BY user_id;

CREATE TABLE items AS
WITH placed AS (
    SELECT asin, CAST(row_number() OVER (
        ORDER BY min(line_number * 4294967296 + position)) AS INTEGER) AS place
    FROM ordered
    GROUP BY asin
), judged AS (
    SELECT bool_and(is_number(asin))
        AND count(DISTINCT TRY_CAST(asin AS INTEGER)) = count(*) AS numbered
    FROM placed
)
SELECT CASE WHEN numbered THEN CAST(asin AS INTEGER) ELSE place END AS item_id, asin
FROM placed, judged
ORDER BY item_id;
