"""Beam search: over the catalogue, and over free text."""

from typing import Any

import torch
from torch.nn import functional
from transformers import T5ForConditionalGeneration

from podtrain.decode.decoder import Decoder, State
from podtrain.decode.exact import MAX_BYTES, choices, node_input, user_groups
from podtrain.decode.trie import Trie
from podtrain.errors import PodError

Found = tuple[torch.Tensor, torch.Tensor]


@torch.no_grad()
def beam_items(
    t5: T5ForConditionalGeneration,
    states: torch.Tensor,
    mask: torch.Tensor,
    trie: Trie,
    beams: int,
    n: int,
    *,
    max_bytes: int = MAX_BYTES,
) -> Found:
    """Return the best items a beam finds, (users, n) int64 best first, and their scores.

    Scores are those of `score_catalogue`, by no length divided. On each level the `beams` best
    open nodes of a user go on; settled items are kept beside them. Where the catalogue is smaller
    than n, items are padded with 0 and scores with -inf. Errors: `PodError` for beams < n.
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
    max_bytes: int = MAX_BYTES,
) -> tuple[list[list[int]], torch.Tensor]:
    """Return the n best texts of each user, user after user, and their scores (users, n).

    Any token may follow any. A text has at least `min_length` tokens, and at most `max_length`
    with its end token, which is not returned (a text that is cut off has none). Its score is the
    log-probability / tokens^length_penalty, the end token counted. A user is done when `beams`
    texts have ended. This is what `generate(num_beams=beams, early_stopping=True)` of transformers
    5.24 does with min_new_tokens and max_new_tokens; its older min_length and max_length are one
    more, as they count the decoder's first token.
    Errors: `PodError` for beams < n, or lengths that no text has.
    """
    _check(beams, n)
    if not (0 <= min_length <= max_length and max_length):
        raise PodError(f"no text has {min_length} to {max_length} tokens: mend these lengths")
    config: Any = t5.config
    decoder, end = Decoder(t5), int(config.eos_token_id)
    paths = config.num_decoder_layers * config.num_heads * config.d_kv * max_length
    users = max(1, max_bytes // (4 * beams * (3 * config.vocab_size + 5 * paths)))
    texts: list[list[int]] = []
    scores = []
    for part, seen in zip(torch.split(states, users), torch.split(mask, users), strict=True):
        state = decoder.start(part, seen)
        ended, score = _texts(decoder, state, end, beams, (min_length, max_length), length_penalty)
        for text in ended[:, :n].flatten(0, 1).tolist():
            texts.append(text[: text.index(end)] if end in text else text)
        scores.append(score[:, :n])
    return texts, torch.cat(scores)


def _texts(
    decoder: Decoder,
    state: State,
    end: int,
    beams: int,
    lengths: tuple[int, int],
    penalty: float,
) -> Found:
    """Return the texts that ended, (users, beams, longest) filled up with `end`, and scores."""
    device, users = state.unseen.device, len(state.unseen)
    ended = torch.full((users, beams, lengths[1]), end, device=device)
    scores = torch.full((users, beams), -torch.inf, device=device)
    live = torch.arange(users, device=device)
    tokens = torch.full((users, 1), decoder.first_token, device=device)
    parents, total = torch.zeros_like(tokens), torch.zeros((users, 1), device=device)
    texts = torch.empty((users, 1, 0), dtype=torch.int64, device=device)
    for length in range(1, lengths[1] + 1):
        hidden, state = decoder.step(state, tokens, parents)
        logp = decoder.logits(hidden).log_softmax(2).float().add_(total[..., None])
        if length <= lengths[0]:
            logp[..., end] = -torch.inf
        where, value = _best(logp.flatten(1), 2 * beams)  # twice as many: half of them may end
        parents, tokens = where // logp.shape[2], where % logp.shape[2]
        texts = torch.cat([_of(texts, parents), tokens[..., None]], 2)
        stops = (tokens == end) | (length == lengths[1])
        # only the first half may end, and only of users that are not done
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
        if 2 * len(going) <= len(live):  # the others are done: stop stepping them
            live, state = live[going], state.of(going)
            texts, tokens, parents, total = (x[going] for x in (texts, tokens, parents, total))
    return ended, scores


def _of(values: torch.Tensor, where: torch.Tensor) -> torch.Tensor:
    """Take (users, x, length) rows at (users, n) places."""
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
    state = decoder.start(states, mask)
    nodes, total = torch.zeros_like(items[:, :1]), torch.zeros_like(scores[:, :1])
    parents = nodes
    for level in trie.levels:
        hidden, state = decoder.step(state, node_input(decoder, level)[nodes], parents)
        if level.nodes == 1:
            nodes = nodes[:1]  # so that its choices, perhaps all items, are listed once
        logp, choice = choices(decoder, hidden, level, nodes)
        logp, choice = logp.add_(total[..., None]).flatten(1), choice.flatten(1)
        child = level.child[choice]
        last = level is trie.levels[-1]
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
        nodes, parents = _at(child, where).clamp_(min=0), where // level.widest
    return items.masked_fill_(scores == -torch.inf, 0), scores


def _best(scores: torch.Tensor, n: int) -> Found:
    """Return where the n best of each row are (or as many as there are), and what they score."""
    best = scores.topk(min(n, scores.shape[1]), 1)
    return best.indices, best.values


def _at(values: torch.Tensor, where: torch.Tensor) -> torch.Tensor:
    """Take (users or 1, x) values at (users, n) places."""
    return values.expand(len(where), -1).gather(1, where)


def _merge(one: Found, other: Found, n: int) -> Found:
    items, scores = (torch.cat(pair, 1) for pair in zip(one, other, strict=True))
    where, scores = _best(scores, n)
    return items.gather(1, where), scores
