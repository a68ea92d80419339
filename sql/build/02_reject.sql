-- rejects: one row per line that is not a review, kept whole.   key: line_number
-- parsed rows with a reason are not used again.

CREATE TABLE rejects AS
SELECT line_number, reason, rtrim(line, E'\n') AS line
FROM parsed
WHERE reason IS NOT NULL
ORDER BY line_number;

INSERT INTO stages
SELECT 'read', 'in', count(*) FROM parsed
UNION ALL
SELECT 'read', 'kept', count(*) FROM parsed WHERE reason IS NULL
UNION ALL
SELECT 'read', reason, count(*) FROM rejects GROUP BY reason;
