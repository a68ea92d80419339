"""How good generated explanations are: nearness to the written ones, variety, and subject."""

import re
from collections.abc import Sequence
from statistics import fmean

from podprep.contract.errors import PodError

Texts = Sequence[str]


def text_metrics(hypotheses: Texts, references: Texts, features: Texts) -> dict[str, float]:
    """Score explanations: bleu1, bleu4 and the ROUGE names in percent, distinct, feature in [0, 1].

    All are (explanations,), in the same order. The published figures compare with references cut
    at 20 sub-tokens; these compare with whatever is given. Errors: `PodError` for none at all.
    """
    assert len(hypotheses) == len(references) == len(features)
    if not hypotheses:
        raise PodError("no explanation to score: the dataset has no such samples of this split")
    return {
        "bleu1": bleu(hypotheses, references, 1),
        "bleu4": bleu(hypotheses, references, 4),
        **rouge(hypotheses, references),
        **rouge_pod(hypotheses, references),
        "distinct": distinct(hypotheses),
        "feature": feature_share(hypotheses, features),
    }


def bleu(hypotheses: Texts, references: Texts, order: int) -> float:
    """Return the corpus BLEU of n-grams of 1 to `order` words, in percent, as the paper takes it.

    Words are what white space separates, case counts, and nothing is smoothed: 0 if the corpus
    has no match of some length.
    """
    from sacrebleu.metrics.bleu import BLEU

    scorer = BLEU(
        tokenize="none",
        smooth_method="none",
        max_ngram_order=order,
        effective_order=False,
        force=True,  # no warning about text that looks tokenized
    )
    return float(scorer.corpus_score(hypotheses, [references]).score)


def rouge(hypotheses: Texts, references: Texts) -> dict[str, float]:
    """Return the mean F of rouge1, rouge2 and rougeL in percent, as the field takes them.

    Words are runs of the letters a to z and digits, in lower case and not stemmed.
    """
    from rouge_score.rouge_scorer import RougeScorer

    names = ["rouge1", "rouge2", "rougeL"]
    scorer = RougeScorer(names, use_stemmer=False)
    pairs = zip(hypotheses, references, strict=True)
    scores = [scorer.score(reference, hypothesis) for hypothesis, reference in pairs]
    return {name: 100 * fmean(score[name].fmeasure for score in scores) for name in names}


def rouge_pod(hypotheses: Texts, references: Texts) -> dict[str, float]:
    """Return rouge1_pod, rouge2_pod and rougeL_pod: the mean F in percent as in the paper.

    They go by white space and case, ROUGE-1 and 2 count a repeated n-gram once, and ROUGE-L
    weighs recall by beta = precision / recall, which draws F to the smaller of the two (POD's
    rouge.py). Not comparable with `rouge`.
    """
    pairs = zip(hypotheses, references, strict=True)
    words = [(hypothesis.split(), reference.split()) for hypothesis, reference in pairs]
    return {
        "rouge1_pod": 100 * fmean(_f_of_ngrams(ours, theirs, 1) for ours, theirs in words),
        "rouge2_pod": 100 * fmean(_f_of_ngrams(ours, theirs, 2) for ours, theirs in words),
        "rougeL_pod": 100 * fmean(_f_of_subsequence(ours, theirs) for ours, theirs in words),
    }


def distinct(hypotheses: Texts) -> float:
    """Return how many different sentences there are, as a share of all; white space aside."""
    return len({tuple(text.split()) for text in hypotheses}) / len(hypotheses)


def feature_share(hypotheses: Texts, features: Texts) -> float:
    """Return the share of sentences that mention their feature: whole words, in any case.

    A plural counts: podprep's features are singular, and without plurals the written sentences
    themselves reach only 0.82 (measured on Beauty), with them 1.
    """
    return fmean(map(_mentions, hypotheses, features))


def _mentions(text: str, feature: str) -> bool:
    words = r"\s+".join(map(re.escape, feature.split()))
    return bool(words) and bool(re.search(rf"(?<!\w){words}(?:e?s)?(?!\w)", text, re.IGNORECASE))


def _f_of_ngrams(ours: list[str], theirs: list[str], n: int) -> float:
    grams, wanted = (
        set(zip(*(words[i:] for i in range(n)), strict=False)) for words in (ours, theirs)
    )
    both = len(grams & wanted)
    if not both:
        return 0.0
    precision, recall = both / len(grams), both / len(wanted)
    return 2 * precision * recall / (precision + recall + 1e-8)


def _f_of_subsequence(ours: list[str], theirs: list[str]) -> float:
    both = _common_subsequence(ours, theirs)
    if not both:
        return 0.0
    precision, recall = both / len(ours), both / len(theirs)
    square = (precision / recall) ** 2
    return (1 + square) * precision * recall / (recall + square * precision)


def _common_subsequence(ours: list[str], theirs: list[str]) -> int:
    """Return the length of the longest sequence of words that both have in this order."""
    longest = [0] * (len(theirs) + 1)  # with the first 0, 1, ... of their words
    for word in ours:
        before = longest
        longest = [0]
        for i, other in enumerate(theirs):
            longest.append(before[i] + 1 if word == other else max(before[i + 1], longest[i]))
    return longest[-1]
