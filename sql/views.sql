-- The views over a dataset; podprep prefixes the paths with its folder.
--
-- users(user_id, reviewer_id)
-- items(item_id, asin; title, brand, categories where a metadata dump was given)
-- interactions(user_id, position, item_id, timestamp, rating, tied, split)   one row per purchase
-- splits(user_id, history, train, valid, test)  one row per user: the split as lists and items
-- negatives(user_id, split, item_ids)         frozen candidates of validation and test
-- explanations(user_id, item_id, split, feature, sentence)
-- samples(sample_id, user_id, item_id, template_id, prompt, target, history, candidates,
--         task, split, round)                 history where sequential, candidates where topn
-- templates(template_id, task, bare, text)    the wordings; validation and test use the bare ones
-- rejects(line_number, reason, line)          lines of the dump that are not reviews
-- stages(stage, what, rows)                   row accounting; what is in, an outcome, or a reason
--
-- A view that reads files is a statement of its own: `podprep query` puts Arrow in its place
-- (see podprep/ask/warehouse.py).

CREATE OR REPLACE VIEW users AS FROM read_parquet('catalog/users.parquet');
CREATE OR REPLACE VIEW items AS FROM read_parquet('catalog/items.parquet');
CREATE OR REPLACE VIEW interactions AS FROM read_parquet('catalog/interactions.parquet');
CREATE OR REPLACE VIEW negatives AS FROM read_parquet('catalog/negatives.parquet');
CREATE OR REPLACE VIEW explanations AS FROM read_parquet('catalog/explanations.parquet');
CREATE OR REPLACE VIEW rejects AS FROM read_parquet('rejects.parquet');

CREATE OR REPLACE VIEW samples AS
SELECT sample_id, user_id, item_id, template_id, prompt, target, history, candidates,
    task, split, round
FROM (
    -- every column, also where no task of this dataset has it
    SELECT CAST(NULL AS INTEGER[]) AS history, CAST(NULL AS INTEGER[]) AS candidates WHERE false
    UNION ALL BY NAME
    FROM read_parquet('samples/*/*/*/*.parquet', union_by_name = true, hive_partitioning = true,
        hive_types = {'task': VARCHAR, 'split': VARCHAR, 'round': INTEGER})
);

CREATE OR REPLACE VIEW stages AS
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

CREATE OR REPLACE VIEW templates AS
SELECT t.id AS template_id, t.task, t.bare, t.text
FROM (
    SELECT unnest(inputs.templates) AS t FROM read_json('manifest.json', columns = {
        'inputs': 'STRUCT(templates STRUCT(id VARCHAR, task VARCHAR, text VARCHAR,
                                           bare BOOLEAN)[])'})
);

CREATE OR REPLACE VIEW splits AS
SELECT user_id,
    list(item_id ORDER BY position) AS history,
    list(item_id ORDER BY position) FILTER (WHERE split = 'train') AS train,
    any_value(item_id) FILTER (WHERE split = 'valid') AS valid,
    any_value(item_id) FILTER (WHERE split = 'test') AS test
FROM interactions
GROUP BY user_id;
