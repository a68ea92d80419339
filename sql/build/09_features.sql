-- features:   one row per surface form of a product feature.      key: word
-- dictionary: one row per word that matters to an explanation.    key: word
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
--     its mentions. This drops nouns that only set the scene;
--   it is not a name: mostly in lower case within sentences;
--   it is not generic (thing, day, husband), by our list.
-- reviews: how many sampled reviews mention the feature; opinions: how many of its mentions are
-- judged; plural and singular are added up. Everything is counted in integers over at most
-- about 10,000 reviews, spread evenly over the dump: no random choice, no sum that depends on the
-- order of rows, bounded cost. Measured on 198,000 reviews: of the first 50 features that 100,000
-- reviews give, 10,000 give all, of the first 100 all but 7; 5,000 all but 13.

-- A text cut into sentences, in order; pieces in between may be headings and fragments. Every
-- piece is part of the text as it is. A sentence ends at . ! ? and a space, at a line break, and
-- before a capital even where the space is missing ("affordable.I did"); dots (...) end one
-- only before a capital.
CREATE OR REPLACE MACRO sentences_of(text) AS
    string_split(regexp_replace(text,
        '([^.][.!?][")'']*)\s+|([a-z)][.!?]+[")'']*) *([A-Z][A-Za-z'' ])',
        E'\\1\\2\n\\3', 'g'), E'\n');

-- A sentence as words; punctuation is a word of its own, so that it keeps neighbours apart.
-- (Plain replacements take half the time of one regular expression.)
CREATE OR REPLACE MACRO words_of(sentence) AS
    string_split(replace(replace(replace(replace(replace(replace(replace(sentence,
        '’', ''''), ',', ' , '), '.', ' . '), '!', ' ! '), ':', ' : '), ';', ' ; '), '  ', ' '),
        ' ');

-- What the small words and the adjectives are; every column is 0 or 1. An adjective expresses
-- an opinion when the lexicon gives it a polarity or calls it subjective, when it is a comparative, or
-- when it is built like one (greas-y, dur-able).
CREATE OR REPLACE TEMP TABLE grammar AS
SELECT *
FROM (
    SELECT word,
        CAST(tag IN ('NN', 'NNS') AND NOT quality AS INTEGER) AS noun,
        CAST(NOT plain AND (quality OR coalesce(abs(polarity) >= 10 OR subjectivity >= 40, false)
            OR tag IN ('JJR', 'JJS') OR tag = 'JJ' AND regexp_matches(word,
                '.{3}(y|ful|less|able|ible|ous|ive|ing|ish)$')) AS INTEGER) AS opinion,
        CAST(NOT plain AND (quality OR coalesce(abs(polarity) >= 40, false)) AS INTEGER) AS strong,
        CAST(NOT plain AND (quality OR tag IN ('JJ', 'JJR', 'JJS')) AS INTEGER) AS adjective,
        copula::INTEGER AS copula, adverb::INTEGER AS adverb, love::INTEGER AS love,
        "like"::INTEGER AS likes, make::INTEGER AS make, sense::INTEGER AS sense,
        wish::INTEGER AS wish, determiner::INTEGER AS determiner, subject::INTEGER AS subject,
        speaker::INTEGER AS speaker, pause::INTEGER AS pause
    FROM lexicon
)
WHERE noun + opinion + adjective + copula + adverb + love + likes + make + sense + wish
    + determiner + subject + pause > 0;

-- counted: how each word is used. n is the number of reviews looked at.
-- nominal, compound, verbal: after a determiner or opinion, after another noun, after a subject.
CREATE OR REPLACE TEMP TABLE counted AS
WITH sampled AS (
    -- multiples of the golden ratio spread evenly over 0..2^32-1 (Knuth, TAOCP 3, 6.4)
    SELECT line_number, text
    FROM reviews, (SELECT count(*) AS n FROM reviews)
    WHERE text <> '' AND (line_number * 2654435761) % 4294967296 * n < 10000 * 4294967296
), sentences AS (
    SELECT line_number, words_of(sentence) AS tokens, words_of(lower(sentence)) AS words
    FROM (SELECT line_number, trim(unnest(sentences_of(text))) AS sentence FROM sampled)
), neighbours AS (
    SELECT line_number, unnest(tokens) AS token, unnest(words) AS word,
        unnest(list_concat(['', ''], words)) AS b2, unnest(list_concat([''], words)) AS b1,
        unnest(words[2:]) AS a1, unnest(words[3:]) AS a2
    FROM sentences
), mentions AS (
    SELECT *
    FROM neighbours ANTI JOIN (
        SELECT word FROM lexicon
        WHERE generic OR tag NOT IN ('', 'NN', 'NNS', 'VB', 'VBZ', 'VBP', 'VBG') AND NOT sense
    ) USING (word)
    WHERE strlen(word) BETWEEN 3 AND 16 AND regexp_full_match(token, '[A-Za-z][a-z]+')
), judged AS (
    SELECT m.line_number, m.word, m.b1 <> '' AND m.token <> m.word AS capital,
        coalesce(d1.determiner + d1.opinion, 0) > 0 AS nominal,
        coalesce(d1.subject, 0) > 0 AS verbal,
        coalesce(d1.noun, 0) > 0 AND m.b1 NOT LIKE '%s' AS compound,
        coalesce(d1.opinion, 0) > 0
            OR coalesce(e1.copula * greatest(e2.adjective, e2.adverb), 0) > 0
            OR coalesce((d2.love + d2.likes) * d1.determiner, 0) > 0 AS opinion
    FROM mentions AS m
    LEFT JOIN grammar AS d1 ON d1.word = m.b1
    LEFT JOIN grammar AS d2 ON d2.word = m.b2
    LEFT JOIN grammar AS e1 ON e1.word = m.a1
    LEFT JOIN grammar AS e2 ON e2.word = m.a2
), counted AS (
    SELECT word, count(DISTINCT line_number) AS reviews, count(*) AS mentions,
        count(*) FILTER (WHERE capital) AS capitals,
        count(*) FILTER (WHERE nominal) AS nominals,
        count(*) FILTER (WHERE verbal) AS verbals,
        count(*) FILTER (WHERE compound) AS compounds,
        count(*) FILTER (WHERE opinion) AS opinions
    FROM judged
    GROUP BY word
)
SELECT *, (SELECT count(*) FROM sampled) AS n FROM counted;

CREATE OR REPLACE TABLE features AS
WITH singular AS (
    -- straps, brushes, batteries; lens and glass stay, because no len and no glas is a noun
    SELECT counted.* EXCLUDE n, coalesce(l.tag, '') AS tag, coalesce(l.sense, false) AS sense,
        coalesce(one.word, counted.word) AS feature
    FROM counted
    LEFT JOIN lexicon AS l USING (word)
    LEFT JOIN lexicon AS one ON counted.word LIKE '%s' AND counted.word NOT LIKE '%ss'
        AND one.tag IN ('NN', 'VB', 'VBP') AND one.word = CASE
            WHEN counted.word LIKE '%ies' THEN left(counted.word, -3) || 'y'
            WHEN regexp_matches(counted.word, '(ch|sh|ss|x|zz)es$') THEN left(counted.word, -2)
            ELSE left(counted.word, -1) END
), nouns AS (
    -- the shares were set by reading the features of a beauty and a music dump
    SELECT * FROM singular
    WHERE sense OR CASE
        WHEN tag IN ('NN', 'NNS') THEN verbals <= nominals + compounds
            AND 100 * (nominals + compounds) >= 20 * mentions
        WHEN tag = 'VB' THEN verbals <= nominals + compounds
            AND 100 * nominals >= 12 * mentions
            AND 100 * (nominals + compounds) >= 40 * mentions
        WHEN tag = '' THEN verbals <= nominals AND 100 * nominals >= 25 * mentions
        ELSE verbals <= nominals
            AND 100 * nominals >= CASE tag WHEN 'VBG' THEN 50 ELSE 35 END * mentions END
), merged AS (
    SELECT feature, sum(reviews) AS reviews, sum(mentions) AS mentions,
        sum(capitals) AS capitals, sum(opinions) AS opinions, bool_or(sense) AS sense,
        bool_and(tag = '') AS unknown
    FROM nouns
    GROUP BY feature
)
SELECT feature, word, merged.reviews::BIGINT AS reviews, merged.mentions::BIGINT AS mentions,
    merged.opinions::BIGINT AS opinions
FROM merged JOIN nouns USING (feature), (SELECT max(n) AS n FROM counted)
-- Support: one review in a thousand, but two, and one where there are under a hundred; half as
-- many opinions. A word that the lexicon lacks is often misspelt or a name and needs four times
-- as much.
WHERE (merged.sense
        OR merged.reviews >= CASE WHEN unknown THEN 4 ELSE 1 END
            * greatest(n // 1000, least(2, 1 + n // 100))
        AND merged.opinions >= greatest(n // 2000, least(2, 1 + n // 500))
        AND 100 * merged.opinions >= 6 * merged.mentions
        AND 100 * merged.capitals <= 30 * merged.mentions)
    AND feature NOT IN (SELECT word FROM lexicon WHERE generic)
ORDER BY reviews DESC, feature, word;

-- two roles in an integer, the second 32 bits up
CREATE OR REPLACE TABLE dictionary AS
SELECT word,
    (f.word IS NOT NULL)::BIGINT + (coalesce(noun, 1)::BIGINT << 32) AS feature_noun,
    coalesce(opinion, 0) + (coalesce(strong, 0)::BIGINT << 32) AS opinion_strong,
    coalesce(adjective, 0) + (coalesce(copula, 0)::BIGINT << 32) AS adjective_copula,
    coalesce(adverb, 0) + (coalesce(love, 0)::BIGINT << 32) AS adverb_love,
    coalesce(likes, 0) + (coalesce(make, 0)::BIGINT << 32) AS likes_make,
    coalesce(sense, 0) + (coalesce(wish, 0)::BIGINT << 32) AS sense_wish,
    coalesce(determiner, 0) + (coalesce(subject, 0)::BIGINT << 32) AS determiner_subject,
    coalesce(speaker, 0) + (coalesce(pause, 0)::BIGINT << 32) AS speaker_pause
FROM grammar FULL JOIN features AS f USING (word)
-- of the nouns those that the sample mentions: a small table is looked up faster
WHERE f.word IS NOT NULL OR word IN (SELECT word FROM counted)
    OR word IN (SELECT word FROM lexicon WHERE generic)
    OR opinion + adjective + copula + adverb + love + likes + make + sense + wish + determiner
        + subject + pause > 0
ORDER BY word;
