-- What chance alone gives: macros that the leak checks share.
--
-- A count of rare events stays near its mean. Chernoff's bound for a sum of independent parts,
-- each at most `clump`: it reaches k > mean with a probability below
--     exp(-(k ln(k / mean) - k + mean) / clump),   and falls to k < mean below the same.
-- 13.8 = ln(1,000,000): where a check calls a count a LEAK, chance alone would do so once in a
-- million. The bound is exact, so it also holds for small data, where 5 standard deviations do not.

CREATE TEMP MACRO excess(k, mean) AS
    CASE WHEN k = 0 THEN mean ELSE k * ln(k / mean) - k + mean END;

CREATE TEMP MACRO surely_more(k, mean, clump) AS
    k > mean AND excess(k, mean) > 13.8 * clump;

CREATE TEMP MACRO surely_less(k, mean) AS
    k < mean AND excess(k, mean) > 13.8;

-- the smallest count of 1..n for which surely_more holds; NULL if there is none
CREATE TEMP MACRO least_count(mean, clump, n) AS
    list_filter(range(1, CAST(n AS BIGINT) + 1), lambda k: surely_more(k, mean, clump))[1];
