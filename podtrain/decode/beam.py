"""Beam search: constrained to the catalogue by its trie, or over free text."""

from typing import Any

import torch
from torch.nn import functional
from transformers import T5ForConditionalGeneration

from podprep.contract.errors import PodError
from podtrain.decode.decoder import Decoder, KVCache
from podtrain.decode.exact import choices, longer, memory, node_input, user_groups
from podtrain.decode.trie import Trie

Found = tuple[torch.Tensor, torch.Tensor]
BLOCK = 64  # tokens of a block: only the best of each is looked at, as a rule
CACHE_SLACK = 4  # steps after which slots of the KV cache that no text needs are dropped
COMPACT_SHARE = 8  # users that are done leave the batch once they are one in so many
LOGITS_TOGETHER = 1 << 22  # logits at a time, 16 MB: more means first-touch page faults each time
LOGITS_TOGETHER_GPU = 1 << 28  # 1 GB: there every piece is a dozen launches more; not measured


@torch.no_grad()
def beam_items(
    t5: T5ForConditionalGeneration,
    states: torch.Tensor,
    mask: torch.Tensor,
    trie: Trie,
    beams: int,
    n: int,
    *,
    max_bytes: int | None = None,
) -> Found:
    """Return the best items a beam finds, (users, n) int64 best first, and their scores.

    Constrained decoding: only tokens that lead to an item are allowed. Scores are those of
    `score_catalogue`, without length penalty. On each level the `beams` best open nodes of a user
    are kept, and settled items beside them. If the catalogue has fewer than n items, items are
    padded with 0 and scores with -inf. Errors: `PodError` for beams < n.
    """
    _check(beams, n)
    decoder, trie = Decoder(t5), trie.to(states.device)
    groups = user_groups(t5, states, trie, max_bytes, nodes=beams)
    found = [_items(decoder, states[rows], mask[rows], trie, beams, n) for rows in groups]
    items, scores = (torch.cat(part) for part in zip(*found, strict=True))
    return items, scores


@torch.no_grad()
def beam_text(
    t5: T5ForConditionalGeneration,
    states: torch.Tensor,
    mask: torch.Tensor,
    *,
    beams: int,
    min_length: int,
    max_length: int,
    length_penalty: float = 1.0,
    n: int = 1,
    begin: torch.Tensor | None = None,
    max_bytes: int | None = None,
) -> tuple[list[list[int]], torch.Tensor]:
    """Return the n best texts of each user, user after user, and their scores (users, n).

    Any token may follow any. A text has at least `min_length` tokens before its end token, and at
    most `max_length` with it; the end token is not returned (a text cut off at `max_length` has
    none). Its score is its log-probability / tokens^length_penalty, the end token counted. A user
    is done when `beams` texts have ended. This is what `generate(num_beams=beams,
    early_stopping=True)` of transformers 5.24 does with min_new_tokens and max_new_tokens; its
    older min_length and max_length are one more, as they count the decoder's start token.
    begin: (users, any) tokens that a user's texts begin with, -1 after the last; they are part of
    the text, and cost it nothing. Errors: `PodError` for beams < n, or lengths that no text has.
    """
    _check(beams, n)
    if not (0 <= min_length <= max_length and max_length):
        raise PodError(f"no text has {min_length} to {max_length} tokens: mend these lengths")
    config: Any = t5.config
    decoder, end = Decoder(t5), int(config.eos_token_id)
    slots = 2 * config.num_decoder_layers * config.num_heads * config.d_kv
    feed = 6 * config.d_model + 3 * config.d_ff
    max_bytes = max_bytes or memory(states.device)
    users = max(1, max_bytes // (4 * beams * (feed + 2 * CACHE_SLACK * slots)))
    texts: list[list[int]] = []
    scores = []
    if begin is None:
        begin = torch.full((len(states), 0), -1, device=states.device)
    parts = (torch.split(whole, users) for whole in (states, mask, begin))
    for part, seen, first in zip(*parts, strict=True):
        cache = decoder.start(part, seen, beams * max_length)
        lengths = (min_length, max_length)
        ended, score = _texts(decoder, cache, end, beams, lengths, length_penalty, first)
        for text in ended[:, :n].flatten(0, 1).tolist():
            texts.append(text[: text.index(end)] if end in text else text)
        scores.append(score[:, :n])
    return texts, torch.cat(scores)


def _texts(
    decoder: Decoder,
    cache: KVCache,
    end: int,
    beams: int,
    lengths: tuple[int, int],
    penalty: float,
    begin: torch.Tensor,
) -> Found:
    """Return the texts that ended, (users, beams, max length) padded with `end`, and scores."""
    device, users = cache.mask_bias.device, len(cache.mask_bias)
    ended = torch.full((users, beams, lengths[1]), end, device=device)
    scores = torch.full((users, beams), -torch.inf, device=device)
    live = torch.arange(users, device=device)
    tokens = torch.full((1, 1), decoder.first_token, device=device)
    total = torch.zeros((users, 1), device=device)
    texts = torch.empty((users, 1, 0), dtype=torch.int64, device=device)
    path, most = None, CACHE_SLACK * beams
    for length in range(1, lengths[1] + 1):
        slots = cache.slots
        hidden = decoder.step(cache, tokens, path, keep=length < lengths[1])
        where, value = _followers(
            decoder,
            hidden,
            total,
            2 * beams,
            barred=end if length <= lengths[0] else None,
            given=begin[live, length - 1] if length <= begin.shape[1] else None,
        )  # twice the beams: half of them may end
        words = len(decoder.head)
        parents, tokens = where // words, where % words
        texts = torch.cat([_of(texts, parents), tokens[..., None]], 2)
        stops = (tokens == end) | (length == lengths[1])
        # as in transformers, only the first half may end, and only of users that are not done
        score = (value / length**penalty).masked_fill(~stops, -torch.inf)[:, :beams]
        score = score.masked_fill(scores[live, -1:] > -torch.inf, -torch.inf)
        both = torch.cat([scores[live], score], 1)
        padded = functional.pad(texts[:, :beams], (0, lengths[1] - length), value=end)
        best, scores[live] = _best(both, beams)
        ended[live] = _of(torch.cat([ended[live], padded], 1), best)
        going = (scores[live, -1] == -torch.inf).nonzero()[:, 0]
        if not len(going) or length == lengths[1]:
            break
        kept, total = _best(value.masked_fill(stops, -torch.inf), beams)
        texts, tokens, parents = _of(texts, kept), tokens.gather(1, kept), parents.gather(1, kept)
        path = longer(path, parents, slots)
        if len(going) <= len(live) * (1 - 1 / COMPACT_SHARE):  # users that are done leave
            live = live[going]
            texts, tokens, total, path = (x[going] for x in (texts, tokens, total, path))
        elif cache.slots <= most:
            continue
        path, used = _used(path, cache.slots)
        cache.keep(going if len(used) < len(cache.mask_bias) else None, used)
        most = used.shape[1] + CACHE_SLACK * beams
    return ended, scores


def _used(path: torch.Tensor, slots: int) -> Found:
    """Return paths (users, nodes, depth) renumbered over the slots in use, and these slots."""
    flat = path.flatten(1)
    used = torch.zeros(len(flat), slots, dtype=torch.bool, device=path.device)
    used.scatter_(1, flat, True)
    number = used.cumsum(1)
    most = int(number[:, -1].max())
    # the slots that a user needs come first, in their order
    kept = used.byte().sort(dim=1, descending=True, stable=True).indices[:, :most]
    return (number - 1).gather(1, flat).view(path.shape), kept


def _followers(
    decoder: Decoder,
    hidden: torch.Tensor,
    total: torch.Tensor,
    n: int,
    *,
    barred: int | None,
    given: torch.Tensor | None,
) -> Found:
    """Return the n best tokens after the texts of each user, as text x vocabulary + token, and
    the scores of the texts with them.

    hidden: (users, texts, d_model); total: (users, texts) scores so far; barred: a token that may
    not follow; the others' probabilities are not scaled up for it; given: (users,) the only token
    that may, at no cost, -1 for any.
    """
    together = LOGITS_TOGETHER if hidden.device.type == "cpu" else LOGITS_TOGETHER_GPU
    users = max(1, together // (hidden.shape[1] * len(decoder.head)))
    found = []
    if given is None:
        given = torch.full((len(hidden),), -1, device=hidden.device)
    parts = (whole.split(users) for whole in (hidden, total, given))
    for some, before, only in zip(*parts, strict=True):
        logp = decoder.logits(some).log_softmax(2).float()
        if barred is not None:
            logp[..., barred] = -torch.inf
        rows = (only >= 0).nonzero()[:, 0]
        if len(rows):
            logp[rows] = -torch.inf
            logp[rows, :, only[rows]] = 0
        found.append(_best_of_blocks(logp, before, n))
    where, value = (torch.cat(part) for part in zip(*found, strict=True))
    return where, value


def _best_of_blocks(logp: torch.Tensor, total: torch.Tensor, n: int) -> Found:
    """Return where the n best of (users, texts, words) + (users, texts) are, and what they score.

    They are in the n blocks with the highest maxima: the others are looked at only once.
    """
    words = logp.shape[2]
    whole = words // BLOCK * BLOCK
    tops = logp[..., :whole].unflatten(2, (-1, BLOCK)).amax(3)
    if whole < words:
        tops = torch.cat([tops, logp[..., whole:].amax(2, keepdim=True)], 2)
    block, _ = _best((tops + total[..., None]).flatten(1), n)
    text, block = block // tops.shape[2], block % tops.shape[2]
    word = block[..., None] * BLOCK + torch.arange(BLOCK, device=logp.device)
    where = (text[..., None] * words + word.clamp(max=words - 1)).flatten(1)
    value = logp.flatten(1).gather(1, where).view(word.shape) + total.gather(1, text)[..., None]
    best, score = _best(value.masked_fill_(word >= words, -torch.inf).flatten(1), n)
    return where.gather(1, best), score


def _of(values: torch.Tensor, where: torch.Tensor) -> torch.Tensor:
    """Gather rows of (users, x, length) at places (users, n)."""
    return values.gather(1, where[..., None].expand(-1, -1, values.shape[2]))


def _check(beams: int, n: int) -> None:
    if not beams >= n >= 1:
        raise PodError(
            f"{beams} beams cannot find {n} best: give at least as many beams, and n >= 1"
        )


def _items(
    decoder: Decoder, states: torch.Tensor, mask: torch.Tensor, trie: Trie, beams: int, n: int
) -> Found:
    items = torch.zeros(len(states), n, dtype=torch.int64, device=states.device)
    scores = torch.full(items.shape, -torch.inf, device=states.device)
    if not trie.levels:  # a single item
        items[:, 0], scores[:, 0] = 1, 0
        return items, scores
    cache = decoder.start(states, mask, sum(min(level.nodes, beams) for level in trie.levels))
    nodes, total = torch.zeros_like(items[:1, :1]), torch.zeros_like(scores[:, :1])
    path = None
    for level in trie.levels:
        slots, last = cache.slots, level is trie.levels[-1]
        hidden = decoder.step(cache, node_input(decoder, level)[nodes], path, keep=not last)
        if level.nodes == 1:
            nodes = nodes[:1]  # so that its choices, perhaps all items, are listed once
        logp, choice = choices(decoder, hidden, level, nodes)
        logp, choice = logp.add_(total[..., None]).flatten(1), choice.flatten(1)
        child = level.child[choice]
        found = _best(logp if last else logp.masked_fill(child >= 0, -torch.inf), n)
        items, scores = _merge((items, scores), (_at(level.item[choice], found[0]), found[1]), n)
        if last:
            break
        where, total = _best(logp.masked_fill_(child < 0, -torch.inf), beams)
        total.masked_fill_(total < scores[:, -1:], -torch.inf)  # it can only fall
        alive = int((total > -torch.inf).sum(1).max())
        if not alive:
            break
        where, total = where[:, :alive], total[:, :alive]
        nodes, path = _at(child, where).clamp_(min=0), longer(path, where // level.widest, slots)
    return items.masked_fill_(scores == -torch.inf, 0), scores


def _best(scores: torch.Tensor, n: int) -> Found:
    """Return the places of the n best scores of each row (or of all, if fewer), and the scores."""
    best = scores.topk(min(n, scores.shape[1]), 1)
    return best.indices, best.values


def _at(values: torch.Tensor, where: torch.Tensor) -> torch.Tensor:
    """Gather values (users or 1, x) at places (users, n)."""
    return values.expand(len(where), -1).gather(1, where)


def _merge(one: Found, other: Found, n: int) -> Found:
    items, scores = (torch.cat(pair, 1) for pair in zip(one, other, strict=True))
    where, scores = _best(scores, n)
    return items.gather(1, where), scores
