-- parsed: one row per line of the dump.   key: line_number
--
-- Reads the 2014, 2018 and 2023 releases by the names of their keys, line by line:
--   2014, 2018   reviewerID  asin          overall  unixReviewTime (s)   reviewText
--   2023         user_id     parent_asin   rating   timestamp (ms)       text
-- `reason` says why a line is not a review; it is NULL for a good line, and `line` is kept only
-- for the others. Types are checked, not coerced: a rating in quotes is not a number.
-- in: lines(line_number, line, problem), the text and what the reader found wrong with it.

CREATE TABLE parsed AS
WITH valid AS (
    SELECT line_number, line, problem, problem IS NULL AND json_valid(line) AS is_json
    FROM lines
), opened AS (
    SELECT line_number, line, problem, is_json,
        CASE WHEN is_json THEN json_keys(line) END AS keys,
        CASE WHEN is_json THEN from_json(line, '{
            "reviewerID": "JSON", "user_id": "JSON", "asin": "JSON", "parent_asin": "JSON",
            "overall": "JSON", "rating": "JSON", "unixReviewTime": "JSON", "timestamp": "JSON",
            "reviewText": "JSON", "text": "JSON"}') END AS f
    FROM valid
), named AS (
    SELECT line_number, line, problem, is_json, keys,
        coalesce(f.reviewerID, f.user_id) AS reviewer,
        coalesce(f.parent_asin, f.asin) AS product,
        coalesce(f.overall, f.rating) AS rating,
        coalesce(f.reviewText, f.text) AS body,
        f.unixReviewTime AS seconds,
        f."timestamp" AS milliseconds
    FROM opened
), typed AS (
    SELECT line_number, line, problem, is_json, keys, rating AS rating_json,
        coalesce(seconds, milliseconds) AS time_json,
        body IS NOT NULL AND NOT starts_with(body, '"') AS body_is_no_text,
        -- an id is a non-empty string, or a whole number as some dumps have it
        CASE WHEN starts_with(reviewer, '"') THEN nullif(trim(reviewer ->> '$'), '')
             WHEN regexp_full_match(reviewer, '[0-9]+') THEN CAST(reviewer AS VARCHAR) END
            AS reviewer_id,
        CASE WHEN starts_with(product, '"') THEN nullif(trim(product ->> '$'), '')
             WHEN regexp_full_match(product, '[0-9]+') THEN CAST(product AS VARCHAR) END
            AS asin,
        CASE WHEN NOT starts_with(rating, '"') THEN TRY_CAST(rating AS DOUBLE) END AS rating,
        -- doubles hold milliseconds exactly for the next 285,000 years
        CASE WHEN seconds IS NOT NULL AND NOT starts_with(seconds, '"')
             THEN 1000 * TRY_CAST(seconds AS DOUBLE)
             WHEN seconds IS NULL AND NOT starts_with(milliseconds, '"')
             THEN TRY_CAST(milliseconds AS DOUBLE) END AS time_ms,
        CASE WHEN starts_with(body, '"') THEN body ->> '$' END AS text
    FROM named
), judged AS (
    SELECT *,
        CASE
            WHEN problem IS NOT NULL THEN problem
            WHEN NOT is_json AND trim(line, E' \t\r\n') = '' THEN 'empty line'
            WHEN NOT is_json THEN 'not JSON'
            WHEN NOT starts_with(ltrim(line, E' \t\r\n'), '{') THEN 'no JSON object'
            WHEN len(list_filter(keys, lambda k, i: list_position(keys, k) <> i)) > 0
                THEN 'a key given twice'
            WHEN reviewer_id IS NULL THEN 'no reviewer'
            WHEN asin IS NULL THEN 'no product'
            WHEN length(reviewer_id) > 256 OR length(asin) > 256 THEN 'id longer than 256'
            WHEN rating_json IS NULL THEN 'no rating'
            WHEN rating IS NULL OR NOT isfinite(rating) THEN 'rating is no number'
            WHEN rating NOT BETWEEN 0 AND 5 THEN 'rating outside 0 to 5'
            WHEN time_json IS NULL THEN 'no time'
            WHEN time_ms IS NULL OR NOT isfinite(time_ms) THEN 'time is no number'
            -- 1970 to 2100; a zero is how some exports write a missing time
            WHEN time_ms NOT BETWEEN 1 AND 4102444800000 THEN 'time outside 1970 to 2100'
            WHEN body_is_no_text THEN 'text is no string'
        END AS reason
    FROM typed
)
SELECT line_number,
    reviewer_id,
    asin,
    rating,
    CASE WHEN reason IS NULL THEN CAST(time_ms AS BIGINT) END AS time_ms,
    text,
    CASE WHEN list_contains(keys, 'parent_asin') OR list_contains(keys, 'user_id') THEN '2023'
         WHEN list_contains(keys, 'verified') OR list_contains(keys, 'style') THEN '2018'
         ELSE '2014' END AS release,
    reason,
    CASE WHEN reason IS NOT NULL THEN line END AS line
FROM judged;
