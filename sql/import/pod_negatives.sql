-- given_negatives: the folder's candidates of the test, as the samples take them.   key: user_id
-- bad_negatives:   lines of negative.txt that the import stops at.                  key: line_number
--
-- in: lines(line_number, line, problem); items; sequences
-- A candidate that the user bought, or that is listed twice, would break the invariant of
-- distinct candidates that were not bought: it is dropped and counted.

CREATE TABLE listed AS
WITH numbered AS (
    SELECT line_number, problem,
        CASE WHEN regexp_full_match(trim(line, E' \t\r\n'), '[0-9]{1,9}([ \t]+[0-9]{1,9})*')
             THEN CAST(string_split_regex(trim(line, E' \t\r\n'), '[ \t]+') AS INTEGER[])
             END AS numbers
    FROM lines
    WHERE trim(line, E' \t\r\n') <> ''
)
SELECT line_number, problem, numbers, numbers[1] AS user_id, numbers[2:] AS item_ids,
    row_number() OVER (PARTITION BY numbers[1] ORDER BY line_number) AS time
FROM numbered;

CREATE TABLE bad_negatives AS
SELECT line_number, CASE
        WHEN problem IS NOT NULL THEN problem
        WHEN numbers IS NULL THEN 'is no ''user item item ...'' of numbers'
        WHEN time > 1 THEN 'has user ' || user_id || ' a second time'
        WHEN length IS NULL THEN 'has user ' || user_id || ', who has no purchases'
        WHEN len(item_ids) > 0 AND (list_min(item_ids) < 1
            OR list_max(item_ids) > (SELECT max(item_id) FROM items))
            THEN 'has an item outside 1 to ' || (SELECT max(item_id) FROM items)
    END AS reason
FROM listed LEFT JOIN sequences USING (user_id)
WHERE reason IS NOT NULL
ORDER BY line_number;

CREATE TABLE given_negatives AS
SELECT user_id, list_filter(item_ids, lambda x, i:
        list_position(item_ids, x) = i AND NOT list_contains(items, x)) AS item_ids
FROM listed JOIN sequences USING (user_id)
WHERE length >= 3 AND line_number NOT IN (SELECT line_number FROM bad_negatives)
ORDER BY user_id;

INSERT INTO stages
SELECT 'negatives', 'in', coalesce(sum(len(item_ids)), 0) FROM listed
UNION ALL
SELECT 'negatives', 'kept', coalesce(sum(len(item_ids)), 0) FROM given_negatives
UNION ALL
SELECT 'negatives', 'user without a test purchase', coalesce(sum(len(item_ids)), 0)
FROM listed JOIN sequences USING (user_id) WHERE length < 3
UNION ALL
SELECT 'negatives', 'given twice, or bought by the user',
    coalesce(sum(len(listed.item_ids) - len(given_negatives.item_ids)), 0)
FROM listed JOIN given_negatives USING (user_id);
