-- numbering: the number of the held-out item follows from the numbers seen before
--
-- Products numbered by first appearance along the users' purchases, held-out ones included, get
-- neighbouring numbers when they are neighbours in a sequence. Then `max+1`, the number after the
-- highest that the user has bought, and `last+1`, the number after the last one, hit the held-out
-- item, and a model that reads digits learns to count. (Published Beauty: .0441 by max+1.)
--
-- grain: one row per split and figure. History: everything before the held-out purchase.
-- The list [max+1, last+1] has one entry where both are the same.
-- threshold: meaningless numbers hit once in as many products as there are, whatever the
-- history (exactly 1/items for either guess, over all numberings). Users who share a product of
-- the history and the held-out item hit or miss together, so the largest such group is the
-- clump of the bound; beyond it chance comes once in a million.

WITH held AS MATERIALIZED (
    SELECT user_id, position, split, item_id AS target,
        max(item_id) OVER (PARTITION BY user_id ORDER BY position
            ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS highest,
        lag(item_id) OVER (PARTITION BY user_id ORDER BY position) AS latest
    FROM interactions
    QUALIFY split <> 'train'
), groups AS (
    SELECT split, max(users) AS clump
    FROM (
        SELECT held.split, target, i.item_id, count(*) AS users
        FROM held JOIN interactions AS i
            ON i.user_id = held.user_id AND i.position < held.position
        GROUP BY ALL
    )
    GROUP BY split
), counted AS (
    SELECT split, count(*) AS users,
        count(*) FILTER (WHERE target = highest + 1) AS first_hits,
        count(*) FILTER (WHERE target = latest + 1 AND latest <> highest) AS second_hits,
        count(*) FILTER (WHERE latest <> highest) AS seconds,
        (SELECT count(*) FROM items) AS items
    FROM held
    GROUP BY split
), figures AS (
    SELECT split, users, 1 AS place, 'max+1, HR@1' AS guess,
        first_hits AS total, users / items AS mean
    FROM counted
    UNION ALL
    SELECT split, users, 2, '[max+1, last+1], NDCG@10',
        first_hits + second_hits / log2(3), (users + seconds / log2(3)) / items
    FROM counted
    UNION ALL
    SELECT split, users, 3, '[max+1, last+1], HR@5',
        first_hits + second_hits, (users + seconds) / items
    FROM counted
), bounded AS (
    SELECT *, least_count(mean, clump, users) AS least
    FROM figures JOIN groups USING (split), facts
)
SELECT split || ', ' || guess AS figure,
    'rate' AS unit,
    CASE WHEN items_numbered THEN total / users END AS value,
    mean / users AS chance,
    least / users AS threshold,
    CASE WHEN NOT items_numbered THEN 'not applicable'
         WHEN least IS NULL THEN 'too few to tell'
         WHEN surely_more(total, mean, clump) THEN 'LEAK'
         ELSE 'clean' END AS verdict,
    CASE WHEN NOT items_numbered THEN 'products have codes here, no numbers' END AS why
FROM bounded
ORDER BY split, place;

SELECT format('user {} bought up to item {}, last item {}; then item {} ({})',
        user_id, highest, latest, target, split) AS example
FROM (
    SELECT user_id, position, split, item_id AS target,
        max(item_id) OVER (PARTITION BY user_id ORDER BY position
            ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS highest,
        lag(item_id) OVER (PARTITION BY user_id ORDER BY position) AS latest
    FROM interactions
    QUALIFY split <> 'train'
)
WHERE target IN (highest + 1, latest + 1)
ORDER BY user_id, position
LIMIT 5;
