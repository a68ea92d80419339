-- accounting: in each stage what comes in is kept or dropped, and the next one begins with the kept
--
-- grain: one row a fault. What the files can be counted for is counted again. The stages of an
-- import are others: only their sums, splits and explanations are asked.

WITH sums AS (
    SELECT stage, sum(rows) FILTER (WHERE what = 'in') AS came,
        coalesce(sum(rows) FILTER (WHERE what <> 'in'), 0) AS went
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
), told AS (
    SELECT stage, what, rows AS n
    FROM stages, options
    WHERE what IN ('train', 'valid', 'test') AND stage IN ('split', 'explain')
       OR NOT imported AND stage = 'read' AND what NOT IN ('in', 'kept')
)
SELECT format('{}: {} in, {} kept or dropped', stage, coalesce(came, 0), went) AS fault
FROM sums
WHERE came IS DISTINCT FROM went
UNION ALL
SELECT format('{} keeps {}, {} begins with {}', earlier, coalesce(e.rows, 0), later,
    coalesce(l.rows, 0))
FROM links JOIN options ON NOT imported
    LEFT JOIN stages AS e ON e.stage = earlier AND e.what = 'kept'
    LEFT JOIN stages AS l ON l.stage = later AND l.what = 'in'
WHERE e.rows IS DISTINCT FROM l.rows
UNION ALL
SELECT format('{}: the manifest says {} {}, the files have {}', stage, coalesce(told.n, 0), what,
    coalesce(counted.n, 0))
FROM counted FULL JOIN told USING (stage, what)
WHERE coalesce(counted.n, 0) <> coalesce(told.n, 0);
