-- numbers: users and products are numbered 1, 2, ... without gaps, and each name occurs once
--
-- grain: one row per fault.

WITH named AS (
    SELECT 'user' AS kind, user_id AS id, reviewer_id AS name FROM users
    UNION ALL
    SELECT 'item', item_id, asin FROM items
), placed AS (
    SELECT *, row_number() OVER (PARTITION BY kind ORDER BY id NULLS FIRST) AS place,
        count(*) OVER (PARTITION BY kind, name) AS names
    FROM named
)
SELECT format('{} {} is where {} should be', kind, coalesce(CAST(id AS VARCHAR), 'NULL'), place)
    AS fault
FROM placed
WHERE id IS DISTINCT FROM place
UNION ALL
SELECT format('{} {} has {}', kind, id,
    CASE WHEN name IS NULL THEN 'no name' ELSE 'the name of another: ' || name END)
FROM placed
WHERE name IS NULL OR names > 1;
