-- One row per template and kind of split: how many samples use it.
-- Training draws templates alike; validation and test use the bare one only.

SELECT task, template_id, count(*) FILTER (WHERE split = 'train') AS train,
    count(*) FILTER (WHERE split <> 'train') AS held_out
FROM samples
GROUP BY task, template_id
ORDER BY list_position(['sequential', 'topn', 'explanation'], task), template_id;
