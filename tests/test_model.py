"""The model: its loss is transformers' own, and nothing of a batch leaks into another sample."""

import math
from collections import defaultdict
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from transformers import T5Config, T5ForConditionalGeneration

from podprep.contract.errors import PodError
from podprep.contract.tasks import TASKS
from podtrain.data.interactions import Interactions
from podtrain.data.stream import Batch
from podtrain.recommenders.pod import kernels, spectral, t5
from podtrain.recommenders.pod.kernels import attend, dropout, linear_cross_entropy, relu_dropout
from podtrain.recommenders.pod.model import WHOLE_WORDS, Inputs, LeaveFoldOut, Pod
from podtrain.recommenders.pod.spectral import ItemVectors, leave_fold_out, start_from
from podtrain.recommenders.pod.t5 import decode
from podtrain.train.checkpoint import weights

WORDS, USERS, D = 40, 6, 16
KINDS = ("scaled", "unscaled", "untied")
tasks = st.sampled_from(TASKS)


def small_t5(kind: str, dropout: float = 0.0, layers: int = 2) -> T5ForConditionalGeneration:
    """A random T5 whose attention, positions and outputs all matter."""
    torch.manual_seed(KINDS.index(kind))
    more: dict[str, Any] = {} if kind == "scaled" else {"tie_word_embeddings": False}
    config = T5Config(
        vocab_size=WORDS, d_model=D, d_kv=6, d_ff=24, num_layers=layers, num_heads=3,
        dropout_rate=dropout, decoder_start_token_id=0, relative_attention_num_buckets=6,
        relative_attention_max_distance=9, **more,
    )  # fmt: skip
    t5 = T5ForConditionalGeneration(config)
    with torch.no_grad():
        for name, weight in t5.named_parameters():
            if name.endswith(("q.weight", "relative_attention_bias.weight")):
                weight.mul_(6)
        t5.shared.weight.div_(1 if kind == "scaled" else 3)
    if kind == "untied":
        t5.lm_head.weight = nn.Parameter(torch.randn(WORDS, D) / 2)
    return t5


@cache
def pod(
    kind: str = "scaled", prompts: int = 3, whole_words: bool = True, read: int = WORDS + USERS
) -> Pod:
    return Pod(
        small_t5(kind),
        soft_prompt_length=prompts,
        whole_word_embeddings=whole_words,
        input_vocab_size=read,
    )


def some_inputs(
    task: str, samples: int, length: int = 12, target: int = 5, seed: int = 0, tokens: int = WORDS
) -> Inputs:
    """Samples of unequal lengths; where the mask is 0 stands garbage."""
    rng = np.random.default_rng(seed)
    mask = np.arange(length) < rng.integers(1, length + 1, (samples, 1))
    labels = rng.integers(1, WORDS, (samples, target))
    labels[np.arange(target) >= rng.integers(1, target + 1, (samples, 1))] = -100
    whole = rng.integers(0, 4, (samples, length)) * rng.integers(0, 2, (samples, length))
    return Inputs(
        task=task,
        user=torch.from_numpy(rng.integers(1, 100, samples)),
        ids=torch.from_numpy(rng.integers(2, tokens, (samples, length))),
        whole_word_ids=torch.from_numpy(whole),
        mask=torch.from_numpy(mask),
        labels=torch.from_numpy(labels),
    )


def slowly_embedded(model: Pod, x: Inputs) -> Tensor:
    """[P; X + w], token by token."""
    table = model.t5.shared.weight if model.input_embedding is None else model.input_embedding
    rows = []
    for ids, whole in zip(x.ids.tolist(), x.whole_word_ids.tolist(), strict=True):
        row = list(model.soft_prompts[TASKS.index(x.task)])
        for token, place in zip(ids, whole, strict=True):
            vector = table[token]
            if model.whole_word_embeddings is not None and place > 0:
                vector = vector + model.whole_word_embeddings[place]
            row.append(vector)
        rows.append(torch.stack(row))
    return torch.stack(rows)


def theirs(model: Pod, x: Inputs) -> Tensor:
    """The loss that transformers gives for the same vectors, mask and labels."""
    prompts = torch.ones(len(x.mask), model.soft_prompts.shape[1], dtype=torch.bool)
    mask = torch.cat([prompts, x.mask], 1)
    out = model.t5(inputs_embeds=slowly_embedded(model, x), attention_mask=mask, labels=x.labels)
    return out.loss * (x.labels >= 0).sum()


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=8, deadline=None, derandomize=True)
@given(
    tasks, st.integers(1, 5), st.integers(0, 3), st.booleans(), st.booleans(), st.integers(0, 99)
)
def test_loss_and_gradients_equal_transformers(
    kind: str, task: str, samples: int, prompts: int, whole: bool, read: bool, seed: int
) -> None:
    tokens = WORDS + USERS * read
    model = pod(kind, prompts, whole, tokens * read).train()
    x = some_inputs(task, samples, seed=seed, tokens=tokens)
    ours, expected = model(x), theirs(model, x)
    torch.testing.assert_close(ours, expected, rtol=1e-6, atol=1e-5)
    parameters = {name: p for name, p in model.named_parameters() if p.numel()}
    own, other = (
        torch.autograd.grad(loss, list(parameters.values()), materialize_grads=True)
        for loss in (ours, expected)
    )
    largest = float(max(gradient.abs().max() for gradient in other))
    for name, a, b in zip(parameters, own, other, strict=True):
        torch.testing.assert_close(
            a, b, rtol=1e-4, atol=4e-6 * largest, msg=lambda m, name=name: f"{name}: {m}"
        )


@pytest.mark.parametrize("kind", KINDS)
def test_outputs_are_tied_and_scaled_as_the_kind_says(kind: str) -> None:
    t5 = small_t5(kind)
    assert (t5.lm_head.weight is t5.shared.weight) == (kind != "untied")
    assert t5.config.scale_decoder_outputs == (kind == "scaled")


@pytest.mark.parametrize("whole_words", [True, False])
def test_the_encoder_reads_prompts_then_words_plus_places(whole_words: bool) -> None:
    model = pod("scaled", 3, whole_words)
    x = some_inputs("topn", 7, tokens=WORDS + USERS)
    embedded, mask = model.embed(x)
    torch.testing.assert_close(embedded, slowly_embedded(model, x), rtol=0, atol=0)
    assert mask[:, :3].all()
    assert torch.equal(mask[:, 3:], x.mask)


def test_a_user_is_trained_on_items_as_they_are_without_his_fold() -> None:
    folds, first, items = 3, 10, 20
    table = torch.cat([torch.zeros(1, D), torch.randn(folds * items, D)])
    model = Pod(small_t5("scaled"), input_vocab_size=WORDS + USERS)
    model.leave_fold_out(LeaveFoldOut(table, folds, first, items))
    x = some_inputs("topn", 7, tokens=WORDS + USERS)
    expected = slowly_embedded(model, x).detach()
    torch.testing.assert_close(model.eval().embed(x)[0], expected, rtol=0, atol=0)
    for i, j in np.ndindex(*x.ids.shape):
        if first <= x.ids[i, j] < first + items:
            row = 1 + (x.user[i] % folds) * items + x.ids[i, j] - first
            expected[i, 3 + j] += table[row]
    torch.testing.assert_close(model.train().embed(x)[0], expected)
    assert set(weights(model)) == set(weights(pod()))  # it is no weight


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_users_are_hidden_from_a_share_of_sequential_prompts_in_training(share: float) -> None:
    """The pad is read in their place."""
    model = Pod(small_t5("scaled"), input_vocab_size=WORDS + USERS, user_dropout=share)
    x = some_inputs("sequential", 400, length=6, tokens=WORDS + USERS)
    x.ids[:, 2] = WORDS + 1
    shown = model.eval().embed(x)[0]
    without = model.embed(replace(x, ids=x.ids.masked_fill(x.ids >= WORDS, 0)))[0]
    torch.manual_seed(0)
    embedded = model.train().embed(x)[0]
    hidden = (embedded == without).flatten(1).all(1)
    assert torch.equal(embedded, torch.where(hidden[:, None, None], without, shown))
    assert (
        abs(hidden.double().mean().item() - share) < 5 * (share * (1 - share) / 400) ** 0.5 + 1e-9
    )
    topn = replace(x, task="topn")
    assert torch.equal(model.embed(topn)[0], model.eval().embed(topn)[0])


def test_a_task_reads_its_own_prompts_only() -> None:
    model = pod()
    for task in TASKS:
        (gradient,) = torch.autograd.grad(model(some_inputs(task, 3)), [model.soft_prompts])
        touched = gradient.abs().sum((1, 2)) > 0
        assert touched.tolist() == [t == task for t in TASKS]
    x = some_inputs("sequential", 3)
    losses = [float(model(replace(x, task=task)).detach()) for task in TASKS]
    assert len(set(losses)) == len(TASKS)


def test_tokens_are_read_by_vectors_of_their_own_and_users_never_written() -> None:
    """Pads are garbage here: what nobody reads is not trained either."""
    model, x = pod(), some_inputs("topn", 4, tokens=WORDS + USERS)
    x.ids[:, 0] = torch.tensor([0, 2, 2, 5]) + WORDS
    x.labels[:, 1:] = -100  # so that the decoder reads its start alone
    read, written = torch.autograd.grad(model(x), [model.input_embedding, model.t5.shared.weight])
    seen = torch.bincount(x.ids[x.mask], minlength=WORDS + USERS) > 0
    assert torch.equal(read.abs().sum(1) > 0, seen)
    assert (written.abs().sum(1) > 0).all()  # every token could have been written
    assert len(model.t5.lm_head.weight) == WORDS


def test_a_prompt_of_too_many_ids_is_refused() -> None:
    """Before it is on the device: a GPU that finds it is lost to the whole process."""
    x = some_inputs("topn", 2)
    batch = Batch(
        task="topn",
        ids=x.ids.numpy(),
        whole_word_ids=x.whole_word_ids.numpy(),
        mask=x.mask.numpy(),
        labels=x.labels.numpy(),
        user_id=x.user.numpy(),
        item_id=np.ones(2, np.int32),
        rows=np.arange(2),
        n_targets=2,
    )
    batch.whole_word_ids[1, 3] = WHOLE_WORDS - 1
    assert pod()(pod().inputs(batch)) > 0
    batch.whole_word_ids[1, 3] = WHOLE_WORDS
    with pytest.raises(PodError, match=r"512 ids.* 511 .*fewer candidates"):
        pod().inputs(batch)
    assert pod(whole_words=False)(pod(whole_words=False).inputs(batch)) > 0


@torch.no_grad()
def test_a_sample_is_the_same_in_any_batch_and_any_padding() -> None:
    model = pod().eval()
    full = some_inputs("explanation", 32, length=14, tokens=WORDS + USERS)
    cells = ("ids", "whole_word_ids", "mask", "labels")

    def inputs(users: Tensor, *arrays: Tensor) -> Inputs:
        return Inputs("explanation", users, *arrays)

    losses = []
    for i in range(32):
        length, target = int(full.mask[i].sum()), int((full.labels[i] >= 0).sum())
        alone = inputs(
            full.user[i : i + 1],
            *(getattr(full, n)[i : i + 1, :length] for n in cells[:3]),
            full.labels[i : i + 1, :target],
        )
        states, loss = model.encode(alone)[0][0], model(alone)
        losses.append(loss)
        for size, more in ((8, 0), (32, 0), (32, 9)) if i % 5 == 0 else ():
            first = i - i % size
            batch = inputs(
                full.user[first : first + size],
                *(F.pad(getattr(full, n)[first : first + size], (0, more)) for n in cells[:3]),
                F.pad(full.labels[first : first + size], (0, more), value=-100),
            )
            here = model.encode(batch)[0][i - first, : 3 + length]
            torch.testing.assert_close(here, states, rtol=0, atol=1e-5)
            others = torch.arange(size) != i - first
            own = replace(batch, labels=batch.labels.masked_fill(others[:, None], -100))
            torch.testing.assert_close(model(own), loss, rtol=1e-6, atol=1e-5)
    torch.testing.assert_close(model(full), torch.stack(losses).sum(), rtol=1e-5, atol=0)


def test_half_precision_is_near() -> None:
    model, x = pod("unscaled").train(), some_inputs("sequential", 6)
    exact = torch.autograd.grad(model(x), [model.whole_word_embeddings, model.t5.shared.weight])
    with torch.autocast("cpu", torch.bfloat16):
        loss = model(x)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, model(x), rtol=2e-2, atol=0)
    for near, far in zip(
        torch.autograd.grad(loss, [model.whole_word_embeddings, model.t5.shared.weight]),
        exact,
        strict=True,
    ):
        assert F.cosine_similarity(near.flatten(), far.flatten(), dim=0) > 0.9


def test_dropout_is_for_training_alone() -> None:
    x = some_inputs("topn", 6)
    plain, dropping = Pod(small_t5("scaled")), Pod(small_t5("scaled", 0.3))
    dropping.load_state_dict(plain.state_dict())
    expected = plain.train()(x)
    torch.testing.assert_close(dropping.eval()(x), expected, rtol=1e-6, atol=0)
    assert abs(dropping.train()(x) - expected) > 1e-3 * expected


# The loss


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    st.lists(st.integers(-1, 6), max_size=9),
    st.sampled_from([1, 2, 3, 1_024]),
    st.sampled_from([0.1, 1.0, 100.0]),
    st.booleans(),
    st.integers(0, 99),
)
def test_projected_loss_equals_cross_entropy(
    labels: list[int], rows: int, scale: float, frozen: bool, seed: int
) -> None:
    """`scale` 100: logits past what exp can take; -1 stands for the -100 of pads."""
    random = torch.Generator().manual_seed(seed)
    hidden = torch.randn(len(labels), 4, generator=random, dtype=torch.float64) * scale
    weight = torch.randn(7, 4, generator=random, dtype=torch.float64).requires_grad_()
    hidden.requires_grad_(not frozen)
    target = torch.tensor(labels, dtype=torch.long).masked_fill(torch.tensor(labels) < 0, -100)
    wanted = [weight] if frozen else [weight, hidden]
    expected = F.cross_entropy(hidden @ weight.T, target, reduction="sum")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kernels, "LOSS_ROWS", rows)
        loss = linear_cross_entropy(hidden, weight, target)
        with torch.no_grad():
            assert linear_cross_entropy(hidden, weight, target).item() == loss.item()
    torch.testing.assert_close(loss.double(), expected, rtol=1e-6, atol=1e-5 * scale)
    # logits are made in single precision
    for a, b in zip(
        torch.autograd.grad(0.37 * loss, wanted),
        torch.autograd.grad(0.37 * expected, wanted),
        strict=True,
    ):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5 * scale**2)


def test_a_loss_of_pads_alone_is_nothing() -> None:
    hidden, weight = torch.randn(3, 4, requires_grad=True), torch.randn(7, 4, requires_grad=True)
    loss = linear_cross_entropy(hidden, weight, torch.full((3,), -100))
    loss.backward()
    assert loss.item() == 0
    assert hidden.grad is not None
    assert weight.grad is not None
    assert float(hidden.grad.abs().sum() + weight.grad.abs().sum()) == 0


def test_compiled_it_is_the_same() -> None:
    """Traced and differentiated as torch.compile does, run without its code generator."""
    plain, dropping = (
        Pod(small_t5("unscaled", rate, layers=1), input_vocab_size=WORDS).train()
        for rate in (0.0, 0.3)
    )
    x = some_inputs("explanation", 4)
    parameters = list(plain.parameters())
    loss = torch.compile(plain, backend="aot_eager")(x)
    torch.testing.assert_close(loss, plain(x), rtol=1e-5, atol=1e-5)
    own, expected = (
        torch.autograd.grad(of, parameters, materialize_grads=True) for of in (loss, plain(x))
    )
    largest = float(max(gradient.abs().max() for gradient in expected))
    for a, b in zip(own, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=4e-6 * largest)
    torch.compile(dropping, backend="aot_eager")(x).backward()


# Dropout


@settings(max_examples=20, deadline=None, derandomize=True)
@given(st.floats(0.004, 0.9), st.integers(0, 2**31))
def test_dropout_has_its_rate_its_scale_and_no_memory(rate: float, seed: int) -> None:
    """Five standard deviations are allowed; the eight elements of a word are independent."""
    n = 200_003  # no multiple of 8
    p = round(rate * 256) / 256
    torch.manual_seed(seed)
    out = dropout(torch.ones(n), rate)
    dropped = out == 0
    torch.testing.assert_close(out[~dropped], torch.full_like(out[~dropped], 1 / (1 - p)))
    spread = (p * (1 - p) / n) ** 0.5
    assert abs(dropped.double().mean() - p) < 5 * spread
    assert abs(out.double().mean() - 1) < 5 * spread / (1 - p)
    for apart in (1, 2, 4, 8):
        both = (dropped[apart:] & dropped[:-apart]).double().mean()
        assert abs(both - p * p) < 5 * (p * p * (1 - p * p) / n) ** 0.5 + 5 * 2 * p * spread, apart


def test_dropout_is_drawn_from_the_seed_and_passes_its_gradient() -> None:
    x = torch.randn(3, 5, 7).transpose(0, 2).requires_grad_()
    torch.manual_seed(3)
    first = dropout(x, 0.4)
    again = dropout(x, 0.4)
    torch.manual_seed(3)
    assert torch.equal(dropout(x, 0.4), first)
    assert not torch.equal(again, first)
    (gradient,) = torch.autograd.grad(first.sum(), [x])
    assert torch.equal(gradient, (first != 0) * (256 / (256 - round(0.4 * 256))))
    assert dropout(torch.zeros(0, 4), 0.4).shape == (0, 4)


def test_dropout_at_no_rate_is_nothing() -> None:
    x = torch.randn(50)
    assert dropout(x, 0.0) is x


# The forward pass


def plainly_attended(  # what attention is, with the weights that are kept
    query: Tensor, key: Tensor, value: Tensor, bias: Tensor, unseen: Tensor, kept: Tensor | float
) -> Tensor:
    weights = (query @ key.transpose(2, 3) + bias + unseen).softmax(3)
    return (weights * kept) @ value


@pytest.mark.parametrize("rate", [0.0, 0.25])
@pytest.mark.parametrize("rows", [1, 3])
@settings(max_examples=10, deadline=None, derandomize=True)
@given(st.integers(1, 5), st.integers(1, 9), st.booleans(), st.integers(0, 99))
def test_attention_and_its_gradients_are_the_plain_ones(
    rate: float, rows: int, queries: int, keys: int, hides: bool, seed: int
) -> None:
    """In double precision; the dropout is drawn first, from the same seed."""
    random = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        drawn = torch.randn(*shape, generator=random, dtype=torch.float64)
        return drawn.transpose(0, 1).contiguous().transpose(0, 1).requires_grad_()

    query, key, value = draw(3, 2, queries, 4), draw(3, 2, keys, 4), draw(3, 2, keys, 4)
    bias = draw(rows, 2, queries, keys)
    mask = torch.rand(3, 1, 1, keys, generator=random) < 0.6
    mask[..., 0] = True
    unseen = torch.zeros(mask.shape, dtype=torch.float64).masked_fill(~mask, -1e30)
    torch.manual_seed(seed)
    kept = dropout(torch.ones(3, 2, queries, keys, dtype=torch.float64), rate)
    torch.manual_seed(seed)
    own = attend(query, key, value, bias, unseen if hides else None, rate)
    expected = plainly_attended(query, key, value, bias, unseen * hides, kept)
    torch.testing.assert_close(own, expected)
    towards = torch.randn(own.shape, generator=random, dtype=torch.float64)
    inputs = [query, key, value, bias]
    for a, b in zip(
        torch.autograd.grad(own, inputs, towards),
        torch.autograd.grad(expected, inputs, towards),
        strict=True,
    ):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_the_softmax_gradient_with_and_without_torchs_own_operator(
    dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = torch.randn(2, 3, 5, 7, dtype=torch.float64, requires_grad=True)
    grad = torch.randn(2, 3, 5, 7, dtype=torch.float64)
    (expected,) = torch.autograd.grad(x.softmax(3), x, grad)
    weights = x.detach().softmax(3).to(dtype)
    tolerance = {torch.float64: 1e-12, torch.float32: 1e-6, torch.bfloat16: 0.03}[dtype]
    for gone in (False, True):
        if gone:
            monkeypatch.setattr(torch.ops, "aten", object())
        found = grad.to(dtype, copy=True)
        assert kernels.softmax_backward_(found, weights) is found
        torch.testing.assert_close(found.double(), expected, atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize(("rate", "n"), [(0.0, 0), (1e-6, 1), (0.0019, 1), (0.1, 26), (0.999, 255)])
def test_a_small_rate_of_dropout_is_not_none(rate: float, n: int) -> None:
    out = dropout(torch.ones(200_000), rate)
    assert (out == 0).float().mean().item() == pytest.approx(n / 256, abs=0.004)
    assert (n > 0) == bool((out == 0).any())
    assert out.max().item() == pytest.approx(256 / (256 - n))


@pytest.mark.parametrize("rate", [0.0, 0.25])
def test_relu_and_dropout_in_place_are_the_plain_ones(rate: float) -> None:
    x = torch.randn(7, 11, dtype=torch.float64, requires_grad=True)
    towards = torch.randn(7, 11, dtype=torch.float64)
    torch.manual_seed(5)
    expected = dropout(x.relu(), rate)
    torch.manual_seed(5)
    own = relu_dropout(x.clone(), rate)
    assert torch.equal(own, expected)
    assert torch.equal(
        *(torch.autograd.grad(out, [x], towards)[0] for out in (own, expected)),
    )


@pytest.mark.parametrize("target", [1, 2, 9])
@pytest.mark.parametrize("length", [1, 4, 40])
def test_few_queries_attend_as_many_do(target: int, length: int) -> None:
    """Where keys and values of the prompt are not made, nothing else comes out, and no other
    gradient; both ways are taken here."""
    model = pod("unscaled").train()
    x = some_inputs("explanation", 4, length=length, target=target, seed=target + length)
    states = torch.randn(4, length, D, requires_grad=True)
    tokens = x.labels.clamp_min(0)
    own = decode(model.t5, tokens, states, x.mask)
    expected = model.t5.decoder(
        input_ids=tokens, encoder_hidden_states=states, encoder_attention_mask=x.mask
    ).last_hidden_state
    torch.testing.assert_close(own, expected, rtol=1e-4, atol=1e-5)
    weights = [states, *(p for n, p in model.t5.named_parameters() if "EncDec" in n)]
    towards = torch.randn_like(own)
    for a, b in zip(
        torch.autograd.grad(own, weights, towards),
        torch.autograd.grad(expected, weights, towards),
        strict=True,
    ):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4)


def test_both_ways_to_attend_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that the test above compares two ways, not one with itself."""
    made = []
    plain = t5.attend
    monkeypatch.setattr(t5, "attend", lambda q, *rest: made.append(q.shape[1]) or plain(q, *rest))
    for target in (1, 9):
        states, mask = torch.randn(2, 40, D), torch.ones(2, 40, dtype=torch.bool)
        decode(pod().t5, torch.ones(2, target, dtype=torch.long), states, mask)
    own, absorbed = 3, 1  # heads
    assert made == [own, absorbed] * 2 + [own, own] * 2


@pytest.mark.parametrize("task", TASKS)
def test_pieces_of_a_batch_have_its_loss_and_gradients(
    task: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, x = pod().train(), some_inputs(task, 9, tokens=WORDS + USERS)
    parameters = [p for p in model.parameters() if p.numel()]
    whole = model(x)
    expected = torch.autograd.grad(whole, parameters, materialize_grads=True)
    states = model.encode(x)[0].detach()
    monkeypatch.setattr(
        t5, "MICRO_BATCH_ELEMENTS", 12 * 3 * 12 * 2
    )  # 12 tokens, 3 heads that see 12
    parts = list(model.micro_batches(x))
    assert [len(p.ids) for p in parts] == [2, 2, 2, 2, 1]
    assert any(p.ids.shape[1] < x.ids.shape[1] for p in parts)
    losses = [model(part) for part in parts]
    torch.testing.assert_close(sum(losses), whole)
    own = torch.autograd.grad(sum(losses), parameters, materialize_grads=True)
    largest = float(max(gradient.abs().max() for gradient in expected))
    for a, b in zip(own, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=4e-6 * largest)
    with torch.no_grad():
        torch.testing.assert_close(model.encode(x)[0], states, rtol=1e-4, atol=1e-5)


# Where items' vectors start

ITEMS = 27
Histories = list[list[int]]


def purchases(histories: Histories, items: int = ITEMS) -> Interactions:
    """Split as a dataset is: the last purchase for the test, the one before for validation."""
    return Interactions(
        items=np.concatenate([np.array(h, np.int32) for h in histories]),
        split=np.concatenate([np.array([0] * (len(h) - 2) + [1, 2], np.int8) for h in histories]),
        starts=np.cumsum([0, *map(len, histories)]),
        n_items=items,
    )


def random_histories(seed: int, users: int, items: int) -> Histories:
    """Users of 3 to 15 purchases: some have a pair too far apart to count."""
    rng = np.random.default_rng(seed)
    return [rng.integers(1, items + 1, rng.integers(3, 16)).tolist() for _ in range(users)]


def clustered(users: int = 60) -> Histories:
    """Users who buy of one of three clusters of eight items; items 25 to 27 nobody buys."""
    rng = np.random.default_rng(4)
    return [(1 + 8 * (u % 3) + rng.permutation(8)).tolist() for u in range(users)]


CLUSTER = torch.arange(24) // 8


def plain_information(histories: Histories, items: int) -> npt.NDArray[np.float64]:
    """Weighted positive pointwise mutual information of what is bought after what, by loops."""
    pairs: dict[tuple[int, int], float] = defaultdict(float)
    for train in (history[:-2] for history in histories):
        for i, one in enumerate(train):
            for lag, other in enumerate(train[i + 1 : i + 1 + spectral.SPAN], 1):
                pairs[one, other] += 1 / lag
                pairs[other, one] += spectral.BACKWARD / lag
    total = sum(pairs.values())
    matrix = np.zeros((items, items))
    for (a, b), count in pairs.items():
        before = sum(c for (x, _), c in pairs.items() if x == a)
        after = sum(c for (_, y), c in pairs.items() if y == b)
        information = math.log(count * total / (before * after))
        matrix[a - 1, b - 1] = math.log(1 + count) * max(0.0, information)
    return matrix


@pytest.mark.parametrize("more", [0, 3])
@pytest.mark.parametrize("seed", range(3))
def test_vectors_factor_the_information_of_pairs(seed: int, more: int) -> None:
    """With a dimension for each item nothing is left out; with more, the rest is empty.

    A user's fold is left out of what is read, and of nothing else.
    """
    items = 11
    histories, dims = random_histories(seed, 12, items), items + more
    found = ItemVectors.of(purchases(histories, items), dims, 0)
    expected = plain_information(histories, items)
    scale = items * dims / np.linalg.svd(expected)[1].sum()  # mean square 1
    products = (found.input @ found.output.T).numpy()
    np.testing.assert_allclose(products, expected * scale, atol=1e-4 * dims)
    assert found.fold_deltas.shape == (spectral.FOLDS, items, dims)
    for fold, without in enumerate(found.fold_deltas):
        others = [h for user, h in enumerate(histories, 1) if user % spectral.FOLDS != fold]
        products = ((found.input + without) @ found.output.T).numpy()
        expected = plain_information(others, items)
        np.testing.assert_allclose(products, expected * scale, atol=1e-4 * dims)
    for vectors in (found.input, found.output):
        assert vectors.shape == (items, dims)
        assert not vectors[:, items:].any()


def test_items_bought_together_lie_together() -> None:
    vectors = ItemVectors.of(purchases(clustered()), 6, 0)
    read, written = vectors.input, vectors.output
    for one, other in ((read, read), (written, written), (read, written)):
        cosines = F.normalize(one[:24], dim=1) @ F.normalize(other[:24], dim=1).T
        cosines.fill_diagonal_(-2)
        assert torch.equal(CLUSTER[cosines.argmax(1)], CLUSTER)
        same = (CLUSTER[:, None] == CLUSTER).fill_diagonal_(False)
        different = CLUSTER[:, None] != CLUSTER
        assert cosines[same].mean() > cosines[different].mean() + 0.5
    for side in (read, written):
        assert side[24:].abs().max() < 1e-6  # never bought
        assert side.square().mean().item() == pytest.approx(1, abs=1e-5)


def test_vectors_are_a_function_of_training_purchases_alone() -> None:
    def vectors(histories: Histories) -> Tensor:
        found = ItemVectors.of(purchases(histories), 6, 0)
        return torch.cat([found.input[None], found.output[None], found.fold_deltas])

    histories = clustered()
    found = vectors(histories)
    state = torch.get_rng_state()
    assert torch.equal(vectors(histories), found)
    assert torch.equal(torch.get_rng_state(), state)  # nobody else's draws move
    rng = np.random.default_rng(0)
    held_out = [[*h[:-2], *rng.integers(1, ITEMS + 1, 2).tolist()] for h in histories]
    assert torch.equal(vectors(held_out), found)
    assert not torch.allclose(vectors([[h[1], h[0], *h[2:]] for h in histories]), found)


def test_users_with_one_training_purchase_give_no_vectors() -> None:
    vectors = ItemVectors.of(purchases([[1, 2, 3], [2, 3, 1]], 3), 4, 0)
    assert torch.equal(vectors.input, torch.zeros(3, 4))
    assert torch.equal(vectors.output, torch.zeros(3, 4))


FIRST = 5  # the token of item 1


def started(histories: Histories) -> Pod:
    torch.manual_seed(0)
    config = T5Config(
        vocab_size=FIRST + ITEMS, d_model=16, d_kv=8, d_ff=24, num_layers=2, num_heads=2,
        dropout_rate=0.0, decoder_start_token_id=0, tie_word_embeddings=False,
    )  # fmt: skip
    model = Pod(T5ForConditionalGeneration(config), input_vocab_size=FIRST + ITEMS + USERS)
    vectors = ItemVectors.of(purchases(histories), 15, 0)
    start_from(model, vectors, purchases(histories), FIRST, 0.05)
    return model.eval()


@torch.no_grad()
def first_scores(model: Pod, ids: list[int]) -> Tensor:
    """What the items get to be the first token after a prompt."""
    read = torch.tensor([ids])
    x = Inputs("sequential", torch.tensor([1]), read, 0 * read, read > 0, torch.tensor([[1]]))
    states, mask = model.encode(x)
    hidden = model.t5.decoder(
        input_ids=torch.zeros(1, 1, dtype=torch.long),
        encoder_hidden_states=states,
        encoder_attention_mask=mask,
    ).last_hidden_state
    return model.t5.lm_head(hidden)[0, 0, FIRST:]


def test_a_model_starts_as_a_recommender_of_neighbours() -> None:
    """A prompt of words, a user and two items of a cluster is answered with the cluster."""
    model = started(clustered())
    for cluster in range(3):
        items = [FIRST + 8 * cluster, FIRST + 8 * cluster + 5]
        scores = first_scores(model, [2, FIRST + ITEMS + 1, 3, items[0], 4, items[1], 2])
        assert torch.equal(
            scores[:24].topk(8).indices.sort().values // 8, torch.full((8,), cluster)
        )


def test_a_model_that_has_read_no_item_starts_with_what_sells() -> None:
    rng = np.random.default_rng(0)
    histories = [(1 + rng.zipf(1.5, 8) % 24).tolist() for _ in range(200)]
    bought = np.bincount([i for h in histories for i in h[:-2]], minlength=ITEMS + 1)[1:]
    scores = first_scores(started(histories), [2, FIRST + ITEMS + 1, 3])
    assert np.corrcoef(scores.numpy(), np.log(bought + 0.5))[0, 1] > 0.8


def test_a_started_model_is_trained_on_the_purchases_of_others() -> None:
    """What is read of an item is made as at the start, but without the user's fold."""
    model, vectors = started(clustered()), ItemVectors.of(purchases(clustered()), 15, 0)
    leave_fold_out(model, vectors, FIRST)
    users = torch.arange(1, 10)
    items = torch.tensor([1, 8, 9, ITEMS]).repeat(len(users), 1)
    ids = F.pad(items + FIRST - 1, (1, 1), value=2)  # words before and after
    read = Inputs("topn", users, ids, 0 * ids, ids > 0, 0 * ids)
    embedded, at_rest = model.train().embed(read)[0][:, 3:], model.eval().embed(read)[0][:, 3:]
    expected = torch.stack(
        [vectors.fold_deltas[int(user) % spectral.FOLDS][items[0] - 1] for user in users]
    )
    torch.testing.assert_close((embedded - at_rest)[:, 1:-1, 1:], expected * spectral.ITEM_STD)
    assert torch.equal(embedded[..., 0], at_rest[..., 0])
    assert torch.equal(embedded[:, [0, -1]], at_rest[:, [0, -1]])
    assert expected[:, :3].abs().amax((1, 2)).min() > 0.01
