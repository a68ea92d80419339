-- The views over a dataset. Paths are relative to its folder.
--
-- users(user_id, reviewer_id)
-- items(item_id, asin; title, brand, categories where a metadata dump was given)
-- interactions(user_id, position, item_id, timestamp, rating, tied, split)   one row a purchase
-- negatives(user_id, split, item_ids)         frozen candidates of validation and test
-- explanations(user_id, item_id, split, feature, sentence)
-- samples(sample_id, user_id, item_id, template_id, prompt, target, history, candidates,
--         task, split, round)
-- rejects(line_number, reason, line)          lines of the dump that are no reviews
-- stages(stage, what, rows)                   row accounting; what is in, an outcome, or a reason
-- splits(user_id, history, train, valid, test)  one row a user: the split as lists and items

CREATE VIEW users AS FROM read_parquet('catalog/users.parquet');
CREATE VIEW items AS FROM read_parquet('catalog/items.parquet');
CREATE VIEW interactions AS FROM read_parquet('catalog/interactions.parquet');
CREATE VIEW negatives AS FROM read_parquet('catalog/negatives.parquet');
CREATE VIEW explanations AS FROM read_parquet('catalog/explanations.parquet');
CREATE VIEW rejects AS FROM read_parquet('rejects.parquet');

CREATE VIEW samples AS
FROM read_parquet('samples/*/*/*/*.parquet', union_by_name = true, hive_partitioning = true,
    hive_types = {'task': VARCHAR, 'split': VARCHAR, 'round': INTEGER});

CREATE VIEW stages AS
WITH listed AS (
    SELECT unnest(stages) AS s FROM read_json('manifest.json', columns = {
        'stages': 'STRUCT(stage VARCHAR, "in" BIGINT, out MAP(VARCHAR, BIGINT),
                          dropped MAP(VARCHAR, BIGINT))[]'})
)
SELECT s.stage, 'in' AS what, s."in" AS rows FROM listed
UNION ALL
SELECT s.stage, unnest(map_keys(s.out)), unnest(map_values(s.out)) FROM listed
UNION ALL
SELECT s.stage, unnest(map_keys(s.dropped)), unnest(map_values(s.dropped)) FROM listed;

CREATE VIEW splits AS
SELECT user_id,
    list(item_id ORDER BY position) AS history,
    list(item_id ORDER BY position) FILTER (WHERE split = 'train') AS train,
    any_value(item_id) FILTER (WHERE split = 'valid') AS valid,
    any_value(item_id) FILTER (WHERE split = 'test') AS test
FROM interactions
GROUP BY user_id;
