"""Decoding: scores equal items forced one by one, beams equal exact ranking and `generate`."""

from collections.abc import Callable
from copy import deepcopy
from functools import cache, partial
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import T5Config, T5ForConditionalGeneration
from transformers.modeling_outputs import BaseModelOutput

from podprep.contract.errors import PodError
from podtrain.decode import beam, decoder
from podtrain.decode.beam import beam_items, beam_text
from podtrain.decode.decoder import Decoder, KVCache
from podtrain.decode.exact import longer, score_candidates, score_catalogue
from podtrain.decode.trie import Trie

END = 1
KINDS = ("t5", "v1.1", "untied")
Sequences = list[list[int]]


@cache
def model(kind: str, vocab: int = 64) -> T5ForConditionalGeneration:
    """A random T5 whose attention, positions and outputs all matter."""
    torch.manual_seed(KINDS.index(kind))
    more: dict[str, Any] = {}
    if kind != "t5":  # in transformers 5.24 this only says that outputs are not scaled
        more = {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False}
    shape: dict[str, Any] = {
        "vocab_size": vocab, "d_model": 16, "d_kv": 6, "d_ff": 24, "num_layers": 2, "num_heads": 3,
        "decoder_start_token_id": 0, "relative_attention_num_buckets": 6,
        "relative_attention_max_distance": 5,
    }  # fmt: skip
    t5 = T5ForConditionalGeneration(T5Config(**shape, **more))
    t5.train(False)
    with torch.no_grad():
        for name, weight in t5.named_parameters():
            if name.endswith(("q.weight", "relative_attention_bias.weight")):
                weight.mul_(6)
        if kind == "untied":
            t5.lm_head.weight = torch.nn.Parameter(torch.randn(vocab, 16) / 2)
        elif kind == "v1.1":
            t5.shared.weight /= 2
        t5.lm_head.weight[END] *= 2  # some texts end early, some late
    return t5


def prompts(users: int, length: int = 7, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Encoded prompts of unequal lengths, with garbage where the mask is 0."""
    random = torch.Generator().manual_seed(seed)
    states = torch.randn(users, length, 16, generator=random)
    seen = torch.randint(1, length + 1, (users, 1), generator=random)
    mask = torch.arange(length) < seen
    return states.masked_fill(~mask[..., None], torch.nan), mask.long()


def one_token() -> Sequences:
    """Tokens in no order."""
    random = torch.Generator().manual_seed(5)
    return [[int(t)] for t in 4 + torch.randperm(300, generator=random)]


def digit_pieces() -> Sequences:
    """A word, then the number in pieces of one or two digits: 12 is the beginning of 123."""
    pieces = {str(i): 4 + i for i in range(10)} | {str(i): 4 + i for i in range(10, 50, 3)}

    def cut(number: str) -> list[int]:
        size = 2 if number[:2] in pieces and len(number) > 1 else 1
        return [pieces[number[:size]], *cut(number[size:])] if number else []

    return [[3, *cut(str(item))] for item in range(1, 301)]


def two_pieces() -> Sequences:
    """One of 20 first pieces, one of 15 second ones."""
    return [[4 + item % 20, 30 + item // 20] for item in range(300)]


CATALOGUES = {f.__name__: f() for f in (one_token, digit_pieces, two_pieces)}
VOCAB = {"one_token": 304, "digit_pieces": 64, "two_pieces": 64}


def forced(
    t5: T5ForConditionalGeneration, states: torch.Tensor, mask: torch.Tensor, sequences: Sequences
) -> torch.Tensor:
    """Score item by item with the whole forward pass, logits of what cannot follow left out."""
    follow: dict[tuple[int, ...], set[int]] = {}
    for sequence in sequences:
        for i, token in enumerate([*sequence, END]):
            follow.setdefault(tuple(sequence[:i]), set()).add(token)
    longest = max(map(len, sequences))
    inputs = torch.tensor([[0, *s, *[END] * (longest - len(s))] for s in sequences])
    forward = t5(
        encoder_outputs=BaseModelOutput(states.nan_to_num(9.0).repeat_interleave(len(inputs), 0)),
        attention_mask=mask.repeat_interleave(len(inputs), 0),
        decoder_input_ids=inputs.repeat(len(states), 1),
    )
    logits = forward.logits.view(len(states), *inputs.shape, -1)
    scores = torch.zeros(len(states), len(sequences))
    for item, sequence in enumerate(sequences):
        for i, token in enumerate([*sequence, END]):
            allowed = sorted(follow[tuple(sequence[:i])])
            logp = logits[:, item, i, allowed].log_softmax(-1)
            scores[:, item] += logp[:, allowed.index(token)]
    return scores


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("catalogue", CATALOGUES)
@torch.no_grad()
def test_catalogue_scores_equal_items_forced_one_by_one(kind: str, catalogue: str) -> None:
    t5, sequences = model(kind, VOCAB[catalogue]), CATALOGUES[catalogue]
    states, mask = prompts(3)
    scores = score_catalogue(t5, states, mask, Trie.build(sequences, END))
    torch.testing.assert_close(scores, forced(t5, states, mask, sequences), atol=1e-4, rtol=0)
    assert scores.std() > 0.5  # not flat: what is compared differs
    torch.testing.assert_close(scores.exp().sum(1), torch.ones(3), atol=1e-5, rtol=0)


# few tokens, so that items share beginnings, and are beginnings of others
ITEM = st.lists(st.integers(2, 6), min_size=1, max_size=4)
ANY = st.lists(ITEM, min_size=1, max_size=16, unique_by=tuple)


@settings(max_examples=30, deadline=None)
@given(ANY, st.integers(0, 3), st.data())
@torch.no_grad()
def test_laws_of_any_catalogue(sequences: Sequences, seed: int, data: st.DataObject) -> None:
    t5, trie = model("t5"), Trie.build(sequences, END)
    states, mask = prompts(3, 4, seed)
    scores = score_catalogue(t5, states, mask, trie)
    items = len(sequences)
    torch.testing.assert_close(scores, forced(t5, states, mask, sequences), atol=1e-4, rtol=0)
    torch.testing.assert_close(scores.exp().sum(1), torch.ones(3), atol=1e-5, rtol=0)

    row = st.lists(st.integers(0, items), min_size=5, max_size=5)
    candidates = torch.tensor(data.draw(st.lists(row, min_size=3, max_size=3)))
    expected = torch.cat([torch.full((3, 1), -torch.inf), scores], 1).gather(1, candidates)
    got = score_candidates(t5, states, mask, trie, candidates)
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=0)

    n = data.draw(st.integers(1, items + 2))
    found, found_scores = beam_items(t5, states, mask, trie, beams=items + 2, n=n)
    mine, best = found[:, :items], scores.topk(min(n, items)).values
    torch.testing.assert_close(found_scores[:, :items], best, atol=1e-5, rtol=0)
    torch.testing.assert_close(scores.gather(1, mine - 1), best, atol=1e-5, rtol=0)
    assert all(len(set(row)) == len(row) for row in mine.tolist())
    assert (found_scores[:, items:] == -torch.inf).all()
    assert not found[:, items:].any()


@settings(max_examples=30, deadline=None)
@given(ANY)
def test_every_item_is_read_back_and_nothing_else(sequences: Sequences) -> None:
    trie = Trie.build(sequences, END)
    known = {tuple(s): i for i, s in enumerate(sequences, 1)}
    for sequence in sequences:
        for tokens in (sequence, sequence[:-1], [*sequence, 2], [*sequence, END], []):
            assert trie.parse(tokens) == known.get(tuple(tokens))
    choices = sum(len(level.item) for level in trie.levels)
    assert choices <= sum(map(len, sequences)) + len(sequences)


@pytest.mark.parametrize(
    ("sequences", "says"),
    [([], "no items"), ([[2], []], "item 2 has no tokens"), ([[2], [3, END]], "item 2 has the end"),
     ([[2], [3, 4], [2, 3], [3, 4]], "items 2 and 4 have the same tokens")],
)  # fmt: skip
def test_a_catalogue_that_is_none_is_refused(sequences: Sequences, says: str) -> None:
    with pytest.raises(PodError, match=says):
        Trie.build(sequences, END)


def test_nothing_is_stepped_for_tokens_without_a_rival(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three open nodes: the root, after 2, and after 2 3, which is needed by none but 4 and 5."""
    trie = Trie.build([[2, 3, 4, 9, 9], [2, 3, 5], [6, 7, 8]], END)
    assert [level.nodes for level in trie.levels] == [1, 1, 1]
    assert [level.widest for level in trie.levels] == [2, 1, 2]
    assert Trie.build([[2, 3]], END).levels == ()
    assert [level.nodes for level in Trie.build(one_token(), END).levels] == [1]
    projected: list[tuple[int, int]] = []
    logits = Decoder.logits

    def counted(self: Decoder, hidden: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        found = logits(self, hidden, tokens)
        projected.append((hidden.shape[1], found.shape[-1]))
        return found

    monkeypatch.setattr(Decoder, "logits", counted)
    t5, (states, mask) = model("t5"), prompts(1)
    score_catalogue(t5, states, mask, trie)
    assert projected == [(1, 2), (1, 2)]
    projected.clear()
    trie = Trie.build(two_pieces(), END)  # candidates with the first piece 4, 5, 4 and 4
    score_candidates(t5, states, mask, trie, torch.tensor([[1, 22, 41, 81, 0]]))
    assert projected == [(1, 20), (2, 15)]


@pytest.mark.parametrize("catalogue", CATALOGUES)
@torch.no_grad()
def test_candidates_and_beams_agree_with_the_catalogue(catalogue: str) -> None:
    t5, trie = model("untied", VOCAB[catalogue]), Trie.build(CATALOGUES[catalogue], END)
    (states, mask), random = prompts(9), torch.Generator().manual_seed(2)
    scores = score_catalogue(t5, states, mask, trie)
    candidates = torch.stack([torch.randperm(301, generator=random)[:40] for _ in range(9)])
    candidates[4] = 0
    padded = torch.cat([torch.full((9, 1), -torch.inf), scores], 1)
    got = score_candidates(t5, states, mask, trie, candidates)
    torch.testing.assert_close(got, padded.gather(1, candidates), atol=1e-5, rtol=0)
    ranked = scores.sort(1, descending=True)
    items, all_scores = beam_items(t5, states, mask, trie, beams=300, n=300)
    torch.testing.assert_close(all_scores, ranked.values, atol=1e-5, rtol=0)
    assert torch.equal(items.sort(1).values, torch.arange(1, 301).expand(9, -1))
    torch.testing.assert_close(scores.gather(1, items - 1), ranked.values, atol=1e-5, rtol=0)
    few = 12 if catalogue == "one_token" else 60
    items, few_scores = beam_items(t5, states, mask, trie, beams=few, n=12)
    torch.testing.assert_close(few_scores, padded.gather(1, items), atol=1e-5, rtol=0)
    assert all(len(set(row)) == 12 for row in items.tolist())
    if catalogue == "one_token":
        assert torch.equal(items, ranked.indices[:, :12] + 1)


def test_a_narrow_beam_is_a_beam() -> None:
    """One beam takes the best token each time, and so may miss the best item."""
    t5, trie = model("t5"), Trie.build(two_pieces(), END)
    states, mask = prompts(32)
    items, scores = beam_items(t5, states, mask, trie, beams=1, n=1)
    exact = score_catalogue(t5, states, mask, trie)
    first = torch.stack([exact[:, k::20].logsumexp(1) for k in range(20)], 1).argmax(1)
    greedy = exact.masked_fill(torch.arange(300) % 20 != first[:, None], -torch.inf)
    assert torch.equal(items[:, 0] - 1, greedy.argmax(1))
    assert (exact.argmax(1) != items[:, 0] - 1).any()
    torch.testing.assert_close(scores[:, 0], greedy.max(1).values, atol=1e-5, rtol=0)


def test_what_cannot_be_asked_is_refused() -> None:
    t5, trie = model("t5"), Trie.build(two_pieces(), END)
    states, mask = prompts(1)
    with pytest.raises(PodError, match="at least as many beams"):
        beam_items(t5, states, mask, trie, beams=3, n=4)
    with pytest.raises(PodError, match="items 1 to 300"):
        score_candidates(t5, states, mask, trie, torch.tensor([[301]]))
    with pytest.raises(PodError, match="lengths"):
        beam_text(t5, states, mask, beams=2, min_length=5, max_length=4)


@pytest.mark.parametrize("catalogue", CATALOGUES)
def test_scores_do_not_depend_on_the_company(catalogue: str) -> None:
    """A user alone, among 8 or 32, after more padding, or in groups of one."""
    t5, trie = model("v1.1", VOCAB[catalogue]), Trie.build(CATALOGUES[catalogue], END)
    states, mask = prompts(32)
    candidates = torch.randint(0, 301, (32, 6), generator=torch.Generator().manual_seed(1))
    after = torch.full((32, 5, 16), 1e4), torch.zeros(32, 5)
    longer = [torch.cat(pair, 1) for pair in zip((states, mask), after, strict=True)]
    asks: list[Callable[..., torch.Tensor]] = [
        lambda s, m, _, **k: score_catalogue(t5, s, m, trie, **k),
        lambda s, m, c, **k: score_candidates(t5, s, m, trie, c, **k),
        lambda s, m, _, **k: beam_items(t5, s, m, trie, 8, 4, **k)[1],
    ]
    for ask in asks:
        alone = torch.cat([ask(states[[u]], mask[[u]], candidates[[u]]) for u in range(4)])
        for got in (
            ask(states[:8], mask[:8], candidates[:8])[:4],
            ask(states, mask, candidates)[:4],
            ask(*longer, candidates)[:4],
            ask(states, mask, candidates, max_bytes=1)[:4],
        ):
            torch.testing.assert_close(got, alone, atol=1e-5, rtol=2e-6)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("absorbed", [False, True])
@pytest.mark.parametrize("together", [2, 128])
@torch.no_grad()
def test_steps_over_a_tree_equal_the_forward_pass(
    kind: str, absorbed: bool, together: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nodes of each user choose their own parents at random, for longer than positions differ."""
    monkeypatch.setattr(Decoder, "_absorbs", lambda *_: absorbed)
    monkeypatch.setattr(decoder, "NODES_TOGETHER", together)
    t5, random = model(kind), torch.Generator().manual_seed(3)
    states, mask = prompts(4)
    steps = Decoder(t5)
    cache, paths = steps.start(states, mask, 31), torch.zeros(4, 1, 0, dtype=torch.int64)
    assert bool(cache.cross_attention) != absorbed
    path, slots = None, 0
    for nodes in (1, 3, 5, 2, 6, 6, 4, 4):
        parents = torch.randint(0, max(1, paths.shape[1]), (4, nodes), generator=random)
        tokens = torch.randint(0, 64, (4, nodes), generator=random)
        if paths.shape[2]:
            path = longer(path, parents, slots)
        slots = cache.slots
        hidden = steps.step(cache, tokens, path)
        before = paths.gather(1, parents[..., None].expand(-1, -1, paths.shape[2]))
        paths = torch.cat([before, tokens[..., None]], 2)
        for node in range(nodes):
            forward = t5(
                encoder_outputs=BaseModelOutput(states.nan_to_num(9.0)), attention_mask=mask,
                decoder_input_ids=paths[:, node],
            )  # fmt: skip
            got = steps.logits(hidden[:, node])
            torch.testing.assert_close(got, forward.logits[:, -1], atol=1e-4, rtol=1e-4)
    some = torch.tensor([5, 0, 63])
    torch.testing.assert_close(steps.logits(hidden, some), steps.logits(hidden)[..., some])


@torch.no_grad()
def test_the_cheaper_way_to_the_prompt_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """One question of a long prompt does not pay for its keys; many do."""
    t5, (states, mask), trie = model("t5"), prompts(3, 40), Trie.build(two_pieces(), END)
    asked: list[tuple[int, bool]] = []
    absorbs = Decoder._absorbs

    def counted(self: Decoder, queries: int, length: int) -> bool:
        asked.append((queries, absorbs(self, queries, length)))
        return asked[-1][1]

    monkeypatch.setattr(Decoder, "_absorbs", counted)
    score_candidates(t5, states, mask, trie, torch.tensor([[1], [2], [3]]))
    score_catalogue(t5, states, mask, trie)
    beam_items(t5, states, mask, trie, 5, 5)
    beam_text(t5, states, mask, beams=3, min_length=1, max_length=9)
    assert asked == [(2, True), (21, False), (6, False), (27, False)]


@pytest.mark.parametrize("catalogue", CATALOGUES)
@torch.no_grad()
def test_bfloat16_ranks_alike(catalogue: str) -> None:
    """The encoder in bfloat16, as it is asked where that is fast: an item that the model holds for
    as probable as it is drawn here is among the ten best of 99% of users in both or in neither."""
    t5, trie = model("t5", VOCAB[catalogue]), Trie.build(CATALOGUES[catalogue], END)
    random = torch.Generator().manual_seed(7)
    ids = torch.randint(2, VOCAB[catalogue], (400, 9), generator=random)
    mask = torch.arange(9) < torch.randint(3, 10, (400, 1), generator=random)
    scores = []
    for narrow in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=narrow):
            states = t5.encoder(input_ids=ids, attention_mask=mask).last_hidden_state
        scores.append(score_catalogue(t5, states.float(), mask, trie))
    assert (scores[0] - scores[1]).abs().mean() > 1e-3
    item = scores[0].softmax(1).multinomial(1, generator=random)
    found = [(each.topk(10).indices == item).any(1) for each in scores]
    assert 40 < int(found[0].sum()) < 360
    assert (found[0] == found[1]).float().mean() >= 0.99


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
@torch.no_grad()
def test_other_dtypes_come_close(dtype: torch.dtype) -> None:
    t5, trie = model("untied"), Trie.build(digit_pieces(), END)
    states, mask = prompts(4)
    scores = score_catalogue(t5, states, mask, trie)
    other: Any = deepcopy(t5)
    other.to(dtype)
    got = score_catalogue(other, states.to(dtype), mask, trie)
    assert got.dtype == torch.float32
    assert (got - scores).abs().mean() < 0.1
    assert len(torch.unique(got[0])) > 290  # logits are not rounded to the model's dtype
    torch.testing.assert_close(got.exp().sum(1), torch.ones(4), atol=1e-5, rtol=0)


def generated(
    t5: T5ForConditionalGeneration, states: torch.Tensor, mask: torch.Tensor, **options: Any
) -> tuple[Sequences, torch.Tensor | None]:
    out = t5.generate(
        encoder_outputs=BaseModelOutput(states.nan_to_num(9.0)), attention_mask=mask,
        do_sample=False, early_stopping=True, return_dict_in_generate=True, output_scores=True,
        pad_token_id=END, **options,
    )  # fmt: skip
    texts = [row[1 : [*row, END].index(END)] for row in out.sequences.tolist()]
    return texts, getattr(out, "sequences_scores", None)  # none of greedy search


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("beams", "n", "least", "most", "penalty"),
    [(1, 1, 0, 8, 1.0), (3, 3, 0, 12, 1.0), (5, 2, 4, 9, 1.0), (20, 10, 1, 50, 1.0),
     (4, 4, 0, 12, 0.0), (4, 4, 3, 12, 2.0), (2, 2, 0, 1, 1.0), (3, 3, 6, 6, 1.0)],
)  # fmt: skip
def test_free_text_equals_generate(
    kind: str, beams: int, n: int, least: int, most: int, penalty: float
) -> None:
    t5 = model(kind, 64 if beams < 20 else 200)  # more than one block, and a part of one
    states, mask = prompts(12, seed=8)
    texts, scores = beam_text(
        t5, states, mask, beams=beams, n=n, min_length=least, max_length=most,
        length_penalty=penalty,
    )  # fmt: skip
    expected, expected_scores = generated(
        t5, states, mask, num_beams=beams, num_return_sequences=n, min_new_tokens=least,
        max_new_tokens=most, length_penalty=penalty,
    )  # fmt: skip
    assert texts == expected
    if expected_scores is not None:
        torch.testing.assert_close(scores.flatten(), expected_scores, atol=1e-5, rtol=0)
    assert all(least <= len(text) <= most for text in texts)


@pytest.mark.parametrize(("texts", "words", "n"), [(1, 5, 4), (3, 64, 9), (4, 200, 8), (3, 640, 2)])
def test_the_best_of_blocks_are_the_best(texts: int, words: int, n: int) -> None:
    random = torch.Generator().manual_seed(words)
    logp = torch.randn(6, texts, words, generator=random).log_softmax(2)
    logp[..., 1] = -torch.inf
    total = torch.randn(6, texts, generator=random)
    where, value = beam._best_of_blocks(logp, total, n)
    expected = (logp + total[..., None]).flatten(1).topk(n)
    assert torch.equal(where, expected.indices)
    assert torch.equal(value, expected.values)


def test_text_is_the_same_whatever_is_given_up_on_the_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """Slots that nothing goes back to, users that are done, logits of few users at a time."""
    t5, (states, mask) = model("untied"), prompts(24, seed=8)
    kept: list[tuple[int, int]] = []
    keep = KVCache.keep

    def counted(self: KVCache, users: torch.Tensor | None, slots: torch.Tensor) -> None:
        kept.append((len(self.mask_bias) - len(slots), self.slots - slots.shape[1]))
        keep(self, users, slots)

    monkeypatch.setattr(KVCache, "keep", counted)
    ask = partial(beam_text, t5, states, mask, beams=5, n=5, min_length=2, max_length=30)
    texts, scores = ask()
    assert any(users for users, _ in kept)
    assert any(slots for users, slots in kept if not users)
    kept.clear()
    monkeypatch.setattr(beam, "CACHE_SLACK", 1_000)
    monkeypatch.setattr(beam, "COMPACT_SHARE", 1)
    monkeypatch.setattr(beam, "LOGITS_TOGETHER", 1)
    plain, plain_scores = ask()
    assert not kept
    assert texts == plain
    torch.testing.assert_close(scores, plain_scores, atol=1e-5, rtol=0)
