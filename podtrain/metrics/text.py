"""How good generated explanations are: close to the written ones, varied, and about the subject."""

from collections import Counter
from collections.abc import Iterable, Sequence
from statistics import fmean

from podprep.contract.errors import PodError
from podtrain.metrics.words import Features, words_of

Texts = Sequence[str]


def text_metrics(
    hypotheses: Texts,
    references: Texts,
    features: Texts,
    all_features: Iterable[str] | None = None,
) -> dict[str, float]:
    """Score explanations: BLEU and ROUGE in percent, then usr, fmr, fcr and div as in NETE.

    hypotheses, references, features: (explanations,), the generated and the written sentence and
    the feature of that, in the same order; all_features: the features of the dataset, if these are
    not all. The published figures compare with references cut at 20 sub-tokens; these compare with
    whatever is given. Errors: `PodError` for no explanation.
    """
    assert len(hypotheses) == len(references) == len(features)
    if not hypotheses:
        raise PodError("no explanation to score: the dataset has no such samples of this split")
    return {
        "bleu1": bleu(hypotheses, references, 1),
        "bleu4": bleu(hypotheses, references, 4),
        **rouge(hypotheses, references),
        **rouge_pod(hypotheses, references),
        "usr": usr(hypotheses),
        "fmr": fmr(hypotheses, features),
        "fcr": fcr(hypotheses, features if all_features is None else all_features),
        "div": div(hypotheses, features if all_features is None else all_features),
    }


def bleu(hypotheses: Texts, references: Texts, order: int) -> float:
    """Return the corpus BLEU of n-grams of 1 to `order` words, in percent, as the paper takes it.

    Words are what white space separates, case counts, and nothing is smoothed: 0 if the corpus
    has no match of some length. Of scripts without spaces a sentence is one word: go by `rouge`.
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

    Words are those of `words_of`, in lower case and not stemmed: in English the words of
    rouge_score, which knows only a to z and digits and gives 0 to any text without them.
    """
    from rouge_score.rouge_scorer import RougeScorer

    names = ["rouge1", "rouge2", "rougeL"]
    scorer = RougeScorer(names, tokenizer=_Tokenizer())
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


def usr(hypotheses: Texts) -> float:
    """Return the unique sentence ratio: different sentences / all of them; white space aside."""
    return len({tuple(text.split()) for text in hypotheses}) / len(hypotheses)


def fmr(hypotheses: Texts, features: Texts) -> float:
    """Return the feature matching ratio: the share of sentences that mention their own feature."""
    pairs = zip(hypotheses, features, strict=True)
    return fmean(bool(Features([feature]).mentioned(words_of(text))) for text, feature in pairs)


def fcr(hypotheses: Texts, all_features: Iterable[str]) -> float:
    """Return the feature coverage ratio: features that some sentence mentions / all features."""
    features = Features(all_features)
    covered = {f for text in hypotheses for f in features.mentioned(words_of(text))}
    return len(covered) / max(len(features), 1)


def div(hypotheses: Texts, all_features: Iterable[str]) -> float:
    """Return how many features two sentences share, on average over all pairs: lower is better.

    Of c sentences that mention a feature, c (c - 1) / 2 pairs share it. 0 for a single sentence.
    """
    features = Features(all_features)
    counts = Counter(f for text in hypotheses for f in features.mentioned(words_of(text)))
    n = len(hypotheses)
    return sum(c * (c - 1) for c in counts.values()) / max(n * (n - 1), 1)


class _Tokenizer:
    """Our words, in the shape that rouge_score wants."""

    @staticmethod
    def tokenize(text: str) -> list[str]:
        """Return the words of a text."""
        return words_of(text)


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
