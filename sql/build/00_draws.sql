-- Keyed draws: every random choice of the build is a pure function of (seed, purpose, key).
--
-- No generator runs, so neither the order of rows nor the number of threads can change a draw.
-- Only md5, integer arithmetic and list functions are used, which every engine has.
--
-- key(purpose, a, b)   32 hexadecimal digits
-- word(key, i)         the i-th (1..4) 28-bit integer of a key
-- wide(key, i)         the i-th (1..6) 44-bit integer of a key; they overlap
-- draw(key, i, n)      an integer of 0..n-1 from word i (bias below n / 2^28)
-- permuted(k1, ..., k6, slots, a, b)   the images of 0..slots-1 under a permutation of 0..a*b-1
--                      keyed by six wide words: distinct numbers in random order, and nothing to
--                      remember while drawing them

-- (the build puts the number itself in the place of seed(): a subquery in every key takes longer
-- to plan than a part to draw)
CREATE MACRO seed() AS (SELECT seed FROM options);

CREATE MACRO key(purpose, a, b) AS
    md5(concat_ws('/', seed(), purpose, a, b));

CREATE MACRO word(key, i) AS
    CAST('0x' || substr(key, 7 * i - 6, 7) AS BIGINT);

CREATE MACRO wide(key, i) AS
    CAST('0x' || substr(key, 4 * i - 3, 11) AS BIGINT);

CREATE MACRO draw(key, i, n) AS
    (word(key, i) * n) // 268435456;

-- One round of a Feistel network on a rectangle (Black and Rogaway 2002, "Ciphers with
-- arbitrary finite domains"): left + a * right becomes right + b * (left + F(right)) mod a.
-- F is multiply-shift hashing (Dietzfelbinger 1996) modulo 2^44; as long as a and b stay below
-- 2^18 no product reaches 2^63.
CREATE MACRO crossed(right_half, left_half, k, c, a, b) AS
    right_half + b * ((left_half + (((k * right_half + c) & 17592186044415) >> 14)) % a);

CREATE MACRO feistel(v, k, c, a, b) AS crossed(v // a, v % a, k, c, a, b);

-- Five rounds, and neighbouring slots start in different columns. Measured with chi-square over
-- pairs of slots for 200,000 keys: for a and b of at least 12 it stays within 3 standard
-- deviations; four rounds from slots in rows were off by up to 150.
CREATE MACRO permuted(k1, k2, k3, k4, k5, k6, slots, a, b) AS
    list_transform(list_transform(list_transform(list_transform(list_transform(range(0, slots),
        lambda v: crossed(v % b, v // b, k1, k2, a, b)),
        lambda v: feistel(v, k2, k3, b, a)),
        lambda v: feistel(v, k3, k4, a, b)),
        lambda v: feistel(v, k4, k5, b, a)),
        lambda v: feistel(v, k5, k6, a, b));

-- A sample's number reads as task, split, round and row: 1 0 002 0000012345 is the sequential
-- training sample of user 12345 in round 2.
CREATE MACRO sample_id(task, split, round, n) AS
    ((CASE task WHEN 'sequential' THEN 1 WHEN 'topn' THEN 2 ELSE 3 END * 10
      + CASE split WHEN 'train' THEN 0 WHEN 'valid' THEN 1 ELSE 2 END) * 1000 + round)
    * 10000000000 + n;
