-- parsed: one row per line of RecBole's interaction files.   key: line_number
--
-- in: lines(line_number, line, problem, file, given_split); columns, one row: at which place of a
--     line, from 1, stand user, item, rating and time (NULL where the file has none), and how many
--     places a line has
-- line_number counts on over the files: file * 2^40 + line. given_split is NULL for NAME.inter, and
-- the part of the benchmark files otherwise. Times are seconds, or milliseconds where the
-- largest cannot be in seconds (beyond the year 5000).

CREATE MACRO token(s) AS
    nullif(trim(CASE WHEN starts_with(s, '"') AND ends_with(s, '"') AND length(s) > 1
                     THEN replace(s[2:-2], '""', '"') ELSE s END), '');

CREATE TABLE cut AS
SELECT file * 1099511627776 + line_number AS line_number, line, problem, given_split,
    string_split(rtrim(line, E'\r\n'), chr(9)) AS f
FROM lines
WHERE line_number > 1 AND trim(line, E' \t\r\n') <> '';

CREATE TABLE parsed AS
WITH typed AS (
    SELECT cut.* EXCLUDE (f), len(f) = width AS whole, time_at IS NOT NULL AS timed,
        token(f[user_at]) AS reviewer_id,
        token(f[item_at]) AS asin,
        token(f[rating_at]) AS rating_text,
        TRY_CAST(token(f[rating_at]) AS FLOAT) AS rating,
        TRY_CAST(token(f[time_at]) AS DOUBLE) AS time
    FROM cut, columns
), scaled AS (
    SELECT *, CAST(round(CASE WHEN isfinite(time) AND abs(time) < 1e14
            THEN time * CASE WHEN max(time) OVER () > 1e11 THEN 1 ELSE 1000 END END) AS BIGINT)
        AS time_ms
    FROM typed
)
SELECT * EXCLUDE (line), CASE WHEN reason IS NOT NULL THEN line END AS line
FROM (SELECT line_number, reviewer_id, asin, rating, time_ms, given_split, line,
    CASE
        WHEN problem IS NOT NULL THEN problem
        WHEN NOT whole THEN 'not as many fields as the first line'
        WHEN reviewer_id IS NULL THEN 'no user'
        WHEN asin IS NULL THEN 'no item'
        WHEN length(reviewer_id) > 256 OR length(asin) > 256 THEN 'id longer than 256'
        WHEN rating_text IS NOT NULL AND (rating IS NULL OR NOT isfinite(rating))
            THEN 'rating is no number'
        WHEN timed AND time_ms IS NULL THEN 'time is no number'
    END AS reason
FROM scaled);

DROP TABLE cut;

CREATE TABLE rejects AS
SELECT line_number % 1099511627776 AS line_number,
    reason || coalesce(' (' || given_split || ')', '') AS reason,
    rtrim(line, E'\r\n') AS line
FROM parsed
WHERE reason IS NOT NULL
ORDER BY parsed.line_number;

INSERT INTO stages
SELECT 'read', 'in', count(*) FROM parsed
UNION ALL
SELECT 'read', 'kept', count(*) FROM parsed WHERE reason IS NULL
UNION ALL
SELECT 'read', reason, count(*) FROM rejects GROUP BY reason;
