-- ordered: one row per purchase, placed in its user's sequence.   key: (reviewer_id, position)
--
-- position counts from 1 in order of time. Times are often whole days, so many neighbours are
-- tied, and are ordered by
--   clean   a keyed hash of (user, product): an order that no model can learn;
--   pod     the order of the dump, which is sorted by product code and so leaks an alphabetical
--           order into the sequences.
-- tied: a neighbour in the sequence has the same time.

CREATE TABLE ordered AS
SELECT line_number, reviewer_id, asin, rating, time_ms,
    CAST(row_number() OVER sequence AS INTEGER) AS position,
    coalesce(time_ms = lag(time_ms) OVER sequence, false)
        OR coalesce(time_ms = lead(time_ms) OVER sequence, false) AS tied
FROM (
    SELECT *,
        CASE WHEN (SELECT protocol FROM options) = 'clean'
             THEN key('tie', reviewer_id, asin) END AS tie
    FROM purchases
)
WINDOW sequence AS (PARTITION BY reviewer_id ORDER BY time_ms, tie, line_number);
