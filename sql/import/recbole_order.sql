-- ordered: one row per purchase, placed in its user's sequence.   key: (reviewer_id, position)
--
-- As build/05_order.sql, except that a split that came with the files goes before the time, and
-- that purchases without times keep the order of the file.

CREATE TABLE ordered AS
SELECT line_number, reviewer_id, asin, rating, time_ms,
    CAST(row_number() OVER sequence AS INTEGER) AS position,
    CASE WHEN time_ms IS NOT NULL THEN
        coalesce(time_ms = lag(time_ms) OVER sequence, false)
        OR coalesce(time_ms = lead(time_ms) OVER sequence, false) END AS tied
FROM (
    SELECT purchases.*,
        CASE given_split WHEN 'test' THEN 2 WHEN 'valid' THEN 1 ELSE 0 END AS part,
        CASE WHEN (SELECT protocol FROM options) = 'clean' AND purchases.time_ms IS NOT NULL
             THEN key('tie', purchases.reviewer_id, purchases.asin) END AS tie
    FROM purchases JOIN parsed USING (line_number)
)
WINDOW sequence AS (PARTITION BY reviewer_id ORDER BY part, time_ms, tie, line_number);
