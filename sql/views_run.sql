-- The views over a run: a trained model, what it recommended, and how it learned; podprep puts
-- the folder of the run before the paths. This file is the contract with podtrain, which writes:
--
-- predictions/*.parquet   one row per user, method and rank
--     task     sequential, topn or explanation
--     split    valid or test
--     method   exact or beam, the two ways to decode; exclude-seen, exact without what was bought
--              before; pod, as the published code did; item-knn and item-knn-exclude-seen, the
--              baseline beside them
--     user_id
--     rank     from 1, the best first
--     item_id  what is recommended, or what is explained; NULL where the text named no item, so
--              that every user who was asked about has a row, also if all that came was nonsense
--     score    what the rank goes by, the larger the better
--     text     the sentence of an explanation, else NULL
--
-- metrics.jsonl           one object a line, added as training goes on
--     event    train, valid or test
--     step     of the optimizer
--     task     sequential, topn, explanation; all where it is about them together
--     name     loss, or a metric such as hit@10 or ndcg@10
--     value
--
-- predictions(task, split, method, user_id, rank, item_id, score, text)
-- metrics(event, step, task, name, value)     but the losses
-- losses(event, step, task, value)
--
-- The prompt of a prediction: samples with the same task, split and user_id (and item_id, where
-- it is an explanation) and round 0. Its history: splits with the same user_id. While a run has
-- not written a file, its view is the half above UNION ALL: no rows (see podprep/ask/warehouse.py).

CREATE OR REPLACE VIEW predictions AS
SELECT task, split, method, user_id, rank, item_id, score, text
FROM (
    SELECT CAST(NULL AS VARCHAR) AS task, CAST(NULL AS VARCHAR) AS split,
        CAST(NULL AS VARCHAR) AS method, CAST(NULL AS INTEGER) AS user_id,
        CAST(NULL AS INTEGER) AS rank, CAST(NULL AS INTEGER) AS item_id,
        CAST(NULL AS DOUBLE) AS score, CAST(NULL AS VARCHAR) AS text
    WHERE false
    UNION ALL BY NAME FROM read_parquet('predictions/*.parquet', union_by_name = true)
);

CREATE OR REPLACE VIEW metrics AS
SELECT event, step, task, name, value
FROM (
    SELECT CAST(NULL AS VARCHAR) AS event, CAST(NULL AS BIGINT) AS step,
        CAST(NULL AS VARCHAR) AS task, CAST(NULL AS VARCHAR) AS name,
        CAST(NULL AS DOUBLE) AS value
    WHERE false
    UNION ALL BY NAME FROM read_json('metrics.jsonl', format = 'newline_delimited', columns = {
        'event': VARCHAR, 'step': BIGINT, 'task': VARCHAR, 'name': VARCHAR, 'value': DOUBLE})
)
WHERE name <> 'loss';

CREATE OR REPLACE VIEW losses AS
SELECT event, step, task, value
FROM (
    SELECT CAST(NULL AS VARCHAR) AS event, CAST(NULL AS BIGINT) AS step,
        CAST(NULL AS VARCHAR) AS task, CAST(NULL AS VARCHAR) AS name,
        CAST(NULL AS DOUBLE) AS value
    WHERE false
    UNION ALL BY NAME FROM read_json('metrics.jsonl', format = 'newline_delimited', columns = {
        'event': VARCHAR, 'step': BIGINT, 'task': VARCHAR, 'name': VARCHAR, 'value': DOUBLE})
)
WHERE name = 'loss';
