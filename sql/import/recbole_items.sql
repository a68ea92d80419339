-- metadata: one row per product of the catalogue that NAME.item describes.   key: asin
--
-- in: lines(line_number, line, problem); columns, one row: at which place of a line stand item,
--     title, brand and categories (NULL where the file has none); items
-- Categories are separated by spaces; a no-break space stands for a space within one.

CREATE TABLE cut AS
SELECT line_number, problem, string_split(rtrim(line, E'\r\n'), chr(9)) AS f
FROM lines
WHERE line_number > 1 AND trim(line, E' \t\r\n') <> '';

CREATE TABLE metadata AS
SELECT token(f[item_at]) AS asin,
    token(f[title_at]) AS title,
    token(f[brand_at]) AS brand,
    list_transform(list_filter(string_split(token(f[categories_at]), ' '),
        lambda w: w <> ''), lambda w: replace(w, chr(160), ' ')) AS categories
FROM cut, columns
WHERE problem IS NULL AND token(f[item_at]) IN (SELECT asin FROM items)
QUALIFY row_number() OVER (PARTITION BY token(f[item_at]) ORDER BY line_number) = 1;

INSERT INTO stages
SELECT 'metadata', 'in', count(*) FROM cut
UNION ALL
SELECT 'metadata', 'kept', count(*) FROM metadata
UNION ALL
SELECT 'metadata', 'no product of the catalogue, or one again',
    (SELECT count(*) FROM cut) - (SELECT count(*) FROM metadata);

DROP TABLE cut;
