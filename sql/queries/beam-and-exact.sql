-- Where do beam search and exact scoring of a run differ?
-- One row per task, split and user for whom the first ten differ, the earliest difference first.
-- target_beam and target_exact are the ranks of the held-out item, NULL where it is not found.

WITH lists AS (
    SELECT task, split, user_id,
        list(item_id ORDER BY rank) FILTER (WHERE method = 'beam') AS beam,
        list(item_id ORDER BY rank) FILTER (WHERE method = 'exact') AS exact
    FROM predictions
    WHERE task <> 'explanation' AND method IN ('beam', 'exact') AND rank <= 10
    GROUP BY task, split, user_id
    HAVING count(DISTINCT method) = 2
)
SELECT task, split, user_id,
    list_min(list_filter(range(1, 11), lambda r: beam[r] IS DISTINCT FROM exact[r]))
        AS differs_from_rank,
    len(list_intersect(beam, exact)) AS in_both,
    list_position(beam, i.item_id) AS target_beam,
    list_position(exact, i.item_id) AS target_exact,
    beam, exact
FROM lists JOIN interactions AS i USING (user_id, split)
WHERE beam IS DISTINCT FROM exact
ORDER BY differs_from_rank, in_both, task, split, user_id;
