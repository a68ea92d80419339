-- One row per task and length of prompt in words: how many samples have it, and the characters of
-- these prompts (fewest, all, most).
-- Words are what spaces part, as `item_12` is. The first round only: the others are draws alike.

SELECT task, length(prompt) - length(replace(prompt, ' ', '')) + 1 AS words, count(*) AS samples,
    min(length(prompt)) AS fewest_characters, CAST(sum(length(prompt)) AS BIGINT) AS characters,
    max(length(prompt)) AS most_characters
FROM samples
WHERE round = 0
GROUP BY task, words
ORDER BY list_position(['sequential', 'topn', 'explanation'], task), words;
