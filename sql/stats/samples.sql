-- One row per task and split: rounds, samples and users of the samples.

SELECT task, split, count(DISTINCT round) AS rounds, count(*) AS samples,
    count(DISTINCT user_id) AS users
FROM samples
GROUP BY task, split
ORDER BY list_position(['sequential', 'topn', 'explanation'], task),
    list_position(['train', 'valid', 'test'], split);
