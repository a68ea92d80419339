-- prompts: every prompt is its template with ids filled in; held-out ones use the bare template
--
-- grain: one row per fault.

SELECT format('sample {}: {}', sample_id, CASE
        WHEN text IS NULL THEN format('no template {} of {}', coalesce(template_id, 'NULL'), task)
        WHEN split <> 'train' AND NOT bare THEN 'not the bare template'
        ELSE 'the prompt is not its template: ' || coalesce(prompt[:80], 'NULL') END) AS fault
FROM samples LEFT JOIN templates USING (template_id, task)
WHERE text IS NULL OR split <> 'train' AND NOT bare
   OR prompt IS DISTINCT FROM replace(replace(replace(replace(text,
        '{user}', 'user_' || user_id),
        '{item}', 'item_' || item_id),
        '{history}', 'item_' || coalesce(array_to_string(history, ' item_'), '')),
        '{candidates}', 'item_' || coalesce(array_to_string(candidates, ' item_'), ''));
