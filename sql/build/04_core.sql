-- purchases, peeled once: users with fewer than `core` purchases go, then products.
--
-- The pipeline repeats this file until both statements delete nothing: the k-core is the
-- largest set in which every user and every product has at least `core`, so the order of
-- peeling does not change it (Seidman 1983).

DELETE FROM purchases
WHERE reviewer_id IN (
    SELECT reviewer_id FROM purchases
    GROUP BY reviewer_id
    HAVING count(*) < (SELECT core FROM options)
);

DELETE FROM purchases
WHERE asin IN (
    SELECT asin FROM purchases
    GROUP BY asin
    HAVING count(*) < (SELECT core FROM options)
);
