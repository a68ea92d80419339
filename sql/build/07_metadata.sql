-- metadata: one row per product of the catalogue that the metadata dump describes.   key: asin
--
-- in: metadata_lines(line_number, line, problem), of products of the catalogue, others counted
--     as `skipped`; items(item_id, asin)
-- Runs only where a metadata dump was given. Where a product is described twice the first counts.
--   2014   asin         title  brand  categories: a list of paths
--   2018   asin         title  brand  category: a path
--   2023   parent_asin  title  store  categories: a path

CREATE MACRO unescaped(s) AS
    nullif(trim(replace(replace(replace(replace(replace(
        s, '&quot;', '"'), '&#39;', ''''), '&lt;', '<'), '&gt;', '>'), '&amp;', '&')), '');

CREATE TABLE metadata AS
WITH opened AS (
    SELECT line_number, from_json(line, '{
        "asin": "VARCHAR", "parent_asin": "VARCHAR", "title": "VARCHAR", "brand": "VARCHAR",
        "store": "VARCHAR", "category": "JSON", "categories": "JSON"}') AS f
    FROM metadata_lines
    WHERE problem IS NULL AND json_valid(line)
), named AS (
    SELECT line_number, f.title AS title, coalesce(f.brand, f.store) AS brand,
        trim(coalesce(f.parent_asin, f.asin)) AS asin,
        coalesce(f.categories, f.category) AS categories
    FROM opened
), flat AS (
    -- a list of paths has strings on the second level, a path on the first
    SELECT *, CASE WHEN json_type(categories, '$[0]') = 'ARRAY'
                   THEN json_extract_string(categories, '$[*][*]')
                   ELSE json_extract_string(categories, '$[*]') END AS words
    FROM named
)
SELECT asin, unescaped(title) AS title, unescaped(brand) AS brand,
    list_filter(list_transform(words, lambda w: unescaped(w)),
        lambda w, i: w IS NOT NULL AND list_position(words, words[i]) = i) AS categories
FROM flat JOIN items USING (asin)
QUALIFY row_number() OVER (PARTITION BY asin ORDER BY line_number) = 1;

INSERT INTO stages
SELECT 'metadata', 'in', count(*) FROM metadata_lines
UNION ALL
SELECT 'metadata', 'kept', count(*) FROM metadata
UNION ALL
SELECT 'metadata', 'not JSON, nor a Python literal', count(*) FROM metadata_lines
WHERE problem IS NOT NULL OR NOT json_valid(line)
UNION ALL
SELECT 'metadata', 'same product again, or none',
    count(*) FILTER (WHERE problem IS NULL AND json_valid(line)) - (SELECT count(*) FROM metadata)
FROM metadata_lines;
