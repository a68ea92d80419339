-- features:   one row a surface form of a product feature.        key: word
-- dictionary: one row a word that matters to an explanation.      key: word
--
-- in: reviews(line_number, text), text may be NULL or empty; lexicon(word, tag, polarity,
--     subjectivity, and a boolean a role), see podprep/data/feature_words.toml
--
-- After Hu and Liu 2004 (KDD, "Mining and summarizing customer reviews"): features are the nouns
-- that many reviews mention and that opinion words stand beside. A noun is a feature when
--   it is a noun here: by the lexicon, or by standing after determiners and adjectives more often
--     than after subjects and auxiliaries (the strap, not: to strap);
--   enough of the sampled reviews mention it, counting its plural with it;
--   people judge it: "the lid is loose", "a loose lid" or "love the lid" make a fair share of
--     its mentions. This drops the nouns that only set the scene;
--   it is no name: mostly in lower case within sentences;
--   it is not generic (thing, day, husband), by our list.
-- reviews is in how many sampled reviews the feature stands, opinions how many of its mentions
-- are judged. Everything is counted in integers over at most about 25,000 reviews, spread evenly
-- over the dump: no random choice, no sum that depends on the order of rows, bounded cost.
-- Measured on 198,000 reviews: 100,000 instead change 3 of the 100 first features.

-- A text cut into sentences, in order; pieces in between may be headings and fragments. Every
-- piece stands in the text as it is. A sentence ends at . ! ? and a space, at a line break, and
-- before a capital even where the space is missing ("affordable.I did"); dots (...) end one
-- only before a capital.
CREATE OR REPLACE MACRO sentences_of(text) AS
    string_split(regexp_replace(text,
        '([^.][.!?][")'']*)\s+|([a-z)][.!?]+[")'']*) *([A-Z][A-Za-z'' ])',
        E'\\1\\2\n\\3', 'g'), E'\n');

-- A sentence as words; punctuation is a word of its own, so that it keeps neighbours apart.
CREATE OR REPLACE MACRO words_of(sentence) AS
    string_split(trim(regexp_replace(replace(sentence, '’', ''''),
        '([.,;:!?()"/*]+) *', ' \1 ', 'g')), ' ');

-- What the small words and the adjectives are; every column is 0 or 1. An adjective tells an
-- opinion when textblob gives it a polarity or calls it subjective, when it is a comparative, or
-- when it is built like one (greas-y, dur-able).
CREATE OR REPLACE TABLE dictionary AS
SELECT word, 0 AS feature, noun, opinion, adjective, copula, adverb, love, determiner, subject,
    make, wish
FROM (
    SELECT word,
        CAST(tag IN ('NN', 'NNS') AND NOT quality AS BIGINT) AS noun,
        CAST(NOT plain AND (quality OR coalesce(abs(polarity) >= 10 OR subjectivity >= 40, false)
            OR tag IN ('JJR', 'JJS') OR tag = 'JJ' AND regexp_matches(word,
                '.{3}(y|ful|less|able|ible|ous|ive|ing|ish)$')) AS BIGINT) AS opinion,
        CAST(NOT plain AND (tag IN ('JJ', 'JJR', 'JJS') OR quality) AS BIGINT) AS adjective,
        copula::BIGINT AS copula, adverb::BIGINT AS adverb, love::BIGINT AS love,
        determiner::BIGINT AS determiner, subject::BIGINT AS subject, make::BIGINT AS make,
        wish::BIGINT AS wish
    FROM lexicon
)
WHERE noun + opinion + adjective + copula + adverb + love + determiner + subject + make + wish > 0;

CREATE OR REPLACE TABLE features AS
WITH sampled AS (
    -- multiples of the golden ratio spread evenly over 0..2^32-1 (Knuth, TAOCP 3, 6.4)
    SELECT line_number, text
    FROM reviews, (SELECT count(*) AS n FROM reviews)
    WHERE text <> '' AND (line_number * 2654435761) % 4294967296 * n < 25000 * 4294967296
), sentences AS (
    SELECT line_number, words_of(unnest(sentences_of(text))) AS words
    FROM sampled
), tokens AS (
    SELECT line_number, unnest(words) AS token,
        unnest(list_concat([''], words)) AS before,
        unnest(list_concat(['', ''], words)) AS before2,
        unnest(words[2:]) AS after,
        unnest(words[3:]) AS after2
    FROM sentences
), mentions AS (
    SELECT line_number, lower(token) AS word, token, before,
        lower(before) AS b1, lower(before2) AS b2, lower(after) AS a1, lower(after2) AS a2
    FROM tokens
    WHERE length(token) BETWEEN 3 AND 16 AND regexp_full_match(token, '[A-Za-z][a-z]+')
      AND lower(token) NOT IN (SELECT word FROM lexicon
          WHERE tag NOT IN ('NN', 'NNS', 'VB', 'VBZ', 'VBP', 'VBG') AND NOT sense
              OR generic)
), judged AS (
    SELECT m.line_number, m.word, m.before <> '' AND m.token <> m.word AS capital,
        coalesce(d1.determiner + d1.opinion, 0) > 0 AS nominal,
        coalesce(d1.subject, 0) > 0 AS verbal,
        coalesce(d1.opinion, 0) > 0
            OR coalesce(e1.copula * greatest(e2.adjective, e2.adverb), 0) > 0
            OR coalesce(d2.love * d1.determiner, 0) > 0 AS opinion
    FROM mentions AS m
    LEFT JOIN dictionary AS d1 ON d1.word = m.b1
    LEFT JOIN dictionary AS d2 ON d2.word = m.b2
    LEFT JOIN dictionary AS e1 ON e1.word = m.a1
    LEFT JOIN dictionary AS e2 ON e2.word = m.a2
), counted AS (
    SELECT word, count(DISTINCT line_number) AS reviews, count(*) AS mentions,
        count(*) FILTER (WHERE capital) AS capitals,
        count(*) FILTER (WHERE nominal) AS nominals,
        count(*) FILTER (WHERE verbal) AS verbals,
        count(*) FILTER (WHERE opinion) AS opinions
    FROM judged
    GROUP BY word
), singular AS (
    -- straps, brushes, batteries; lens and glass stay, because no len and no glas is a noun
    SELECT counted.*, coalesce(l.tag, '') AS tag, coalesce(l.sense, false) AS sense,
        coalesce(one.word, counted.word) AS feature
    FROM counted
    LEFT JOIN lexicon AS l USING (word)
    LEFT JOIN lexicon AS one ON counted.word LIKE '%s' AND counted.word NOT LIKE '%ss'
        AND one.tag IN ('NN', 'VB', 'VBP') AND one.word = CASE
            WHEN counted.word LIKE '%ies' THEN left(counted.word, -3) || 'y'
            WHEN regexp_matches(counted.word, '(ch|sh|ss|x|zz)es$') THEN left(counted.word, -2)
            ELSE left(counted.word, -1) END
), nouns AS (
    SELECT * FROM singular
    WHERE sense OR verbals <= nominals AND CASE
        WHEN tag IN ('NN', 'NNS') THEN 100 * nominals >= 12 * mentions
        WHEN tag = '' THEN 100 * nominals >= 25 * mentions
        ELSE 100 * nominals >= 40 * mentions END
), merged AS (
    SELECT feature, sum(reviews) AS reviews, sum(mentions) AS mentions,
        sum(capitals) AS capitals, sum(opinions) AS opinions, bool_or(sense) AS sense
    FROM nouns
    GROUP BY feature
)
SELECT feature, word, merged.reviews::BIGINT AS reviews, merged.mentions::BIGINT AS mentions,
    merged.opinions::BIGINT AS opinions
FROM merged JOIN nouns USING (feature), (SELECT count(DISTINCT line_number) AS n FROM sampled)
WHERE merged.sense OR merged.reviews >= greatest(2, n // 1000)
    AND merged.opinions >= greatest(2, n // 2000)
    AND 100 * merged.opinions >= 8 * merged.mentions
    AND 100 * merged.capitals <= 30 * merged.mentions
    AND feature NOT IN (SELECT word FROM lexicon WHERE generic)
ORDER BY reviews DESC, feature, word;
