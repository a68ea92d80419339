-- statistics: one row of figures about the whole dataset.

SELECT
    (SELECT count(*) FROM users) AS users,
    (SELECT count(*) FROM items) AS items,
    (SELECT count(*) FROM items WHERE item_id NOT IN (
        SELECT item_id FROM interactions WHERE split = 'train')) AS items_never_trained,
    (SELECT count(*) FROM interactions) AS purchases,
    (SELECT avg(length) FROM sequences) AS mean_length,
    (SELECT min(length) FROM sequences) AS shortest,
    (SELECT max(length) FROM sequences) AS longest,
    (SELECT count(*) FROM interactions)
        / ((SELECT count(*) FROM users) * (SELECT count(*) FROM items)) AS density,
    (SELECT avg(CAST(tied AS INTEGER)) FROM interactions) AS tied_share,
    (SELECT list({feature: feature, explanations: n} ORDER BY n DESC, feature)[1:30] FROM (
        SELECT feature, count(*) AS n FROM explanations GROUP BY feature)) AS features;
