-- accounting: each stage keeps or drops what comes in, and the next starts with what was kept
--
-- grain: one row per fault. Whatever the files can tell is counted again. The stages of an
-- import differ: only their sums, splits and explanations are checked.

WITH sums AS (
    SELECT stage, sum(rows) FILTER (WHERE what = 'in') AS entered,
        coalesce(sum(rows) FILTER (WHERE what <> 'in'), 0) AS accounted
    FROM stages
    GROUP BY stage
), links AS (
    SELECT * FROM (VALUES ('read', 'deduplicate'), ('deduplicate', 'core'), ('core', 'split'))
        AS l(earlier, later)
), counted AS (
    SELECT 'split' AS stage, split AS what, count(*) AS n FROM interactions GROUP BY split
    UNION ALL
    SELECT 'explain', split, count(*) FROM explanations GROUP BY split
    UNION ALL
    SELECT 'read', reason, count(*) FROM rejects, options WHERE NOT imported GROUP BY reason
), recorded AS (
    SELECT stage, what, rows AS n
    FROM stages, options
    WHERE what IN ('train', 'valid', 'test') AND stage IN ('split', 'explain')
       OR NOT imported AND stage = 'read' AND what NOT IN ('in', 'kept')
)
SELECT format('{}: {} in, {} kept or dropped', stage, coalesce(entered, 0), accounted) AS fault
FROM sums
WHERE entered IS DISTINCT FROM accounted
UNION ALL
SELECT format('{} keeps {}, {} starts with {}', earlier, coalesce(e.rows, 0), later,
    coalesce(l.rows, 0))
FROM links JOIN options ON NOT imported
    LEFT JOIN stages AS e ON e.stage = earlier AND e.what = 'kept'
    LEFT JOIN stages AS l ON l.stage = later AND l.what = 'in'
WHERE e.rows IS DISTINCT FROM l.rows
UNION ALL
SELECT format('{}: the manifest says {} {}, the files have {}', stage, coalesce(recorded.n, 0), what,
    coalesce(counted.n, 0))
FROM counted FULL JOIN recorded USING (stage, what)
WHERE coalesce(counted.n, 0) <> coalesce(recorded.n, 0);
