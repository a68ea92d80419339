"""Time inference: users a second of each task beside `generate`, T5-small's size.

usage: python -m bench.infer [--shards DIR] [--base small] [--json FILE]

Same weights, users of one split, one process, one after the other, wall seconds from tokenised
prompts to what was asked for. The reference is transformers' `generate` with 20 beams, batches
of 32 (the paper's) padded in the order of the data, as many new tokens as the longest
item has, where the published code allows 50. The notes say how much smaller batches help it on this
machine. It writes freely; ours names items only. Ours goes by length, as podtrain evaluate does,
and ranks the whole catalogue for eight times as many users, where the reference would take minutes.
Three times: ids whole, in pieces of three digits, and digit by digit, which is near to what T5's
own vocabulary makes of them.

The weights are random, drawn from a seed: items and sentences cost what they cost whatever is
said. Only when a sentence ends depends on it, so both sides write `SENTENCE` tokens: a model that
had trained 80 steps on Beauty's sentences had ended its 20 beams after 18 of them, a user more or
less like the other. A random model without this limit would write 49.

The floor counts the products of matrices for the prompts without pads, the nodes that ours steps
and the tokens it projects on, at the speed of one large product on this machine.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import T5Config, T5ForConditionalGeneration

from bench.figures import Figure, arguments, show, timed
from bench.reference.generate import Generator
from bench.stream import dataset
from bench.train import plain_config, products
from podprep.contract.shards import Shards
from podtrain.data.stream import Batch, Samples
from podtrain.decode.beam import beam_items, beam_text
from podtrain.decode.decoder import Decoder
from podtrain.decode.exact import score_candidates, score_catalogue
from podtrain.decode.trie import Trie
from podtrain.recommenders.pod.bases import SHAPES
from podtrain.recommenders.pod.explaining import MIN_TOKENS
from podtrain.recommenders.pod.model import Inputs
from podtrain.recommenders.pod.recommender import PodRecommender
from podtrain.recommenders.pod.t5 import encode
from podtrain.recommenders.ranking import candidates_of
from podtrain.run import BEST, LAST, Run

BEAMS, TOP = 20, 10
SENTENCE = 18
SAME = 7  # the published 21 beams are three groups that do not know of each other (exp.py)
SIZE, SMALLER = 32, 8  # of the reference's batches
TOKENS = 2_048  # in a batch of ours: more is memory fresh from the system each time
IDS = {0: "ids whole", 3: "ids in three digits", 1: "ids by digit"}
USERS = {  # of the reference, by digits: it takes seconds
    "sequential": {0: 128, 3: 64, 1: 32},
    "topn": {0: 32, 1: 16},
    "explanation": {0: 32},
}
# Ours is asked for more users of long and short histories: batches are made of those alike.
SEARCHED = {0: 1_024, 3: 512, 1: 256}
SCORED = {0: 1_024, 3: 384, 1: 24}
CATALOGUES = (1_000, 10_000, 100_000)
Way = Callable[[Batch], object]


@dataclass(slots=True)
class Work:
    """What the decoder did: nodes stepped, times tokens projected on."""

    nodes: int = 0
    words: int = 0


@contextmanager
def counted() -> Iterator[Work]:
    """Count what the decoder does meanwhile."""
    work, step, logits = Work(), Decoder.step, Decoder.logits

    def steps(self: Decoder, state: Any, tokens: torch.Tensor, *rest: Any, **more: Any) -> Any:
        work.nodes += len(state.mask_bias) * tokens.shape[1]
        return step(self, state, tokens, *rest, **more)

    def projects(self: Decoder, *rest: Any) -> Any:
        found = logits(self, *rest)
        work.words += found.numel()
        return found

    Decoder.step, Decoder.logits = steps, projects  # type: ignore[method-assign]
    try:
        yield work
    finally:
        Decoder.step, Decoder.logits = step, logits  # type: ignore[method-assign]


def operations(model: PodRecommender, samples: Samples, work: Work) -> float:
    """Count the floating-point operations of all samples that no way can do without."""
    config: Any = model.pod.t5.config
    d, inner, ff = config.d_model, config.num_heads * config.d_kv, config.d_ff
    prompt = samples.prompts.ids.lengths + model.pod.soft_prompts.shape[1]
    encoder = (prompt * (4 * d * inner + 2 * d * ff) + 2 * inner * prompt**2).sum()
    each = work.nodes / len(samples)  # nodes of a user
    # keys and values of the prompt, or the queries taken to its states
    made = prompt * 2 * d * inner + 2 * inner * prompt * each
    taken = each * (2 * d * inner + 2 * config.num_heads * d * prompt)
    cross = np.minimum(made, taken).sum()
    node = 6 * d * inner + 2 * d * ff
    layers = config.num_layers * encoder + config.num_decoder_layers * (work.nodes * node + cross)
    return float(2 * (layers + work.words * d))


def ours(model: PodRecommender, samples: Samples, way: Way) -> tuple[float, float]:
    """Return samples a second, and the operations of a sample."""
    longest = int(samples.prompts.ids.lengths.max()) + model.pod.soft_prompts.shape[1]
    batches = list(samples.by_length(max(1, TOKENS // longest)))
    way(batches[-1])
    with counted() as work:
        start = time.perf_counter()
        for batch in batches:
            way(batch)
        seconds = time.perf_counter() - start
    return len(samples) / seconds, operations(model, samples, work) / len(samples)


def theirs(model: PodRecommender, samples: Samples, **options: int) -> tuple[float, str]:
    """Return the reference's samples a second, and in words those of smaller batches."""
    generator, rates = Generator(model.pod), []
    generator.generate(samples, SMALLER, most=SMALLER, **options)
    for size in (SIZE, SMALLER):
        start = time.perf_counter()
        generator.generate(samples, size, **options)
        rates.append(len(samples) / (time.perf_counter() - start))
    return rates[0], f"the reference in batches of {SMALLER}: {rates[1]:.3g}/s"


@dataclass(frozen=True, slots=True)
class Bench:
    """A model of some digits a piece of an id, asked; `rate` operations a second can be had."""

    model: PodRecommender
    digits: int
    rate: float

    def figure(
        self,
        part: str,
        work: str,
        asked: float | None,
        way: Way,
        reference: tuple[float, str],
        samples: Samples,
    ) -> Figure:
        """Time ours beside what the reference reached."""
        own, count = ours(self.model, samples, way)
        return Figure(
            part=part,
            work=f"{work}, {IDS[self.digits]}",
            unit="sentences/s" if samples.task == "explanation" else "users/s",
            ours=own,
            reference=reference[0],
            note=reference[1],
            asked=asked,
            floor=self.rate / count,
            floor_of=f"{count / 1e9:.2f} Gflop each at {self.rate / 1e9:.0f} Gflop/s",
        )

    def encoded(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return encoder states and their mask."""
        return self.model.encode(Inputs.of(batch, self.model.device))

    def samples(self, task: str, users: dict[int, int] | None = None) -> Samples:
        """Return users who are asked, an even choice of all, as the data has them."""
        most = (users or USERS[task])[self.digits]
        return self.model.reader.split(task, "test", most)

    def items(self) -> list[Figure]:
        """Rank the whole catalogue: the ten best by 20 beams; every item's score."""
        t5, trie = self.model.pod.t5, self.model.trie
        reference = theirs(self.model, self.samples("sequential"), **self._options())
        many, some = (self.samples("sequential", users) for users in (SEARCHED, SCORED))

        def search(batch: Batch) -> object:
            return beam_items(t5, *self.encoded(batch), trie, BEAMS, TOP)

        def exact(batch: Batch) -> object:
            scores = score_catalogue(t5, *self.encoded(batch), trie)
            return scores.topk(min(TOP, scores.shape[1]))

        part = "sequential inference"
        return [
            self.figure(part, "whole catalogue, top 10", 20.0, search, reference, many),
            self.figure("exact ranking", "whole catalogue", 1.0, exact, reference, some),
        ]

    def candidates(self) -> list[Figure]:
        """Rank a user's candidates."""
        samples = self.samples("topn")
        lists = candidates_of(self.model.shards, "test", samples.user_id)
        reference = theirs(self.model, samples, **self._options())

        def score(batch: Batch) -> object:
            own = torch.from_numpy(lists[batch.rows])
            t5, trie = self.model.pod.t5, self.model.trie
            scores = score_candidates(t5, *self.encoded(batch), trie, own)
            return scores.topk(min(TOP, scores.shape[1]))

        work = f"{lists.shape[1]} candidates"
        return [self.figure("top-N inference", work, 10.0, score, reference, samples)]

    def sentences(self) -> list[Figure]:
        """Write a sentence each."""
        samples, limits = self.samples("explanation"), {"min_new_tokens": MIN_TOKENS}
        limits |= {"max_new_tokens": SENTENCE}

        def write(beams: int) -> Way:
            return lambda batch: beam_text(
                self.model.pod.t5,
                *self.encoded(batch),
                beams=beams,
                min_length=MIN_TOKENS,
                max_length=SENTENCE,
            )

        reference = theirs(self.model, samples, num_beams=BEAMS, **limits)
        work, other = f"{BEAMS} beams", f"ours {SAME} beams, which are the paper's 21"
        return [
            self.figure("explanation", work, 3.0, write(BEAMS), reference, samples),
            self.figure("explanation", other, None, write(SAME), reference, samples),
        ]

    def _options(self) -> dict[str, int]:
        """Say how an item is generated: an end is written where items are written with one."""
        reader = self.model.reader
        new = reader.longest_item + reader.items_need_end
        return {"num_beams": BEAMS, "num_return_sequences": TOP, "max_new_tokens": new}


def figures(shards: Shards, base: str, work: Path) -> list[Figure]:
    """Return the figures of all tasks that the shards have."""
    found, rate = [], products()
    for digits, ids in IDS.items():
        config = plain_config(shards, base=base, id_digits=digits)
        run = Run.begin(work / ids, config, shards, {})
        (run.folder / LAST).rename(run.folder / BEST)
        model = Run.open(run.folder, shards=shards.folder, device="cpu").recommender
        assert isinstance(model, PodRecommender)
        bench = Bench(model, digits, rate)
        for task, ask in {
            "sequential": bench.items,
            "topn": bench.candidates,
            "explanation": bench.sentences,
        }.items():
            if task in config.shared.tasks and digits in USERS[task]:
                found += ask()
    return [*found, *by_catalogue(base), *apart(found)]


def by_catalogue(base: str) -> Iterator[Figure]:
    """Rank catalogues of several sizes, an item a token, for prompts of a usual length."""
    for items in CATALOGUES:
        torch.manual_seed(items)
        options: dict[str, Any] = {"decoder_start_token_id": 0, "tie_word_embeddings": False}
        t5 = T5ForConditionalGeneration(T5Config(vocab_size=items + 2, **options, **SHAPES[base]))
        t5.eval()
        trie = Trie.build([[2 + item] for item in range(items)], end=1)
        prompts = torch.randn(SIZE, 12, t5.config.d_model)
        mask = torch.ones(SIZE, 12, dtype=torch.bool)

        @torch.inference_mode()
        def exact(t5: Any = t5, trie: Trie = trie, x: Tensor = prompts, m: Tensor = mask) -> None:
            score_catalogue(t5, encode(t5, x, m), m, trie).topk(TOP)

        @torch.inference_mode()
        def generate(t5: Any = t5, x: Tensor = prompts, m: Tensor = mask) -> None:
            t5.generate(
                inputs_embeds=x,
                attention_mask=m.long(),
                num_beams=BEAMS,
                num_return_sequences=TOP,
                max_new_tokens=1,
                early_stopping=True,
                do_sample=False,
            )

        exact()
        yield Figure(
            part="exact ranking by catalogue",
            work=f"{items:,} items",
            unit="users/s",
            ours=SIZE / timed(exact),
            reference=SIZE / timed(generate, 1),
            note="random weights and prompts, 12 vectors a prompt",
        )


def apart(found: list[Figure]) -> Iterator[Figure]:
    """Set ours with whole ids beside the reference by digit."""
    whole, digit = (
        {f.part: f for f in reversed(found) if f.work.endswith(ids)} for ids in (IDS[0], IDS[1])
    )
    for part in ("sequential inference", "top-N inference"):
        if part in whole and part in digit:
            yield replace(
                whole[part],
                work="ours ids whole, the reference's by digit: not the same model",
                reference=digit[part].reference,
                note=digit[part].note,
                asked=None,
            )


def main() -> None:
    """Run and print."""
    parser = arguments(__doc__)
    parser.add_argument("--shards", type=Path, help="a dataset; without, the sample is built")
    parser.add_argument("--base", default="small")
    args = parser.parse_args()
    with dataset(args.shards) as (shards, work):
        show(figures(shards, args.base, work), args.json)


if __name__ == "__main__":
    main()
