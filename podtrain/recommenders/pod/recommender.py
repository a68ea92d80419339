"""POD as a recommender: its streams of text, its training, and what the trained model answers."""

from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn
from transformers import AutoTokenizer

from podprep.contract.errors import PodError
from podprep.contract.shards import Shards
from podprep.contract.tasks import TASKS
from podtrain.data.schedule import Schedule
from podtrain.data.stream import Batch, SampleTokenizer
from podtrain.data.tokens import Tokens
from podtrain.decode.beam import beam_items, beam_text
from podtrain.decode.exact import score_candidates, score_catalogue
from podtrain.decode.trie import Trie
from podtrain.metrics.ranking import per_user, ranks_of
from podtrain.recommenders.base import Recommender, TrainableRecommender
from podtrain.recommenders.memory import Memory, log_softmax
from podtrain.recommenders.pod.bases import Base, empty_t5, make_base
from podtrain.recommenders.pod.explaining import explanations
from podtrain.recommenders.pod.model import Inputs, Pod
from podtrain.recommenders.pod.options import PodOptions
from podtrain.recommenders.pod.parts import MemoryAlone, T5Alone, mixture, weighted
from podtrain.recommenders.pod.prompts import bare_prompts
from podtrain.recommenders.pod.published import cut_references, published_items
from podtrain.recommenders.pod.spectral import leave_fold_out, vectors_of
from podtrain.recommenders.queries import Floats, Ints, Pairs, Queries
from podtrain.recommenders.ranking import batch_size, gathered
from podtrain.train.config import TrainConfig
from podtrain.train.world import World

VALID_SAMPLES = 4_096  # of each task, at most; the same each time
VALID_BATCH = 256
SHARES = np.linspace(0, 1, 11)  # of the T5 beside the memory, of which validation chooses
HISTORY_SHARES = np.linspace(0, 1, 5)


class PodRecommender(TrainableRecommender):
    """T5 with a few soft prompts for each task, trained in front of the discrete prompts that they
    stand for at inference."""

    name = "pod"
    tasks = frozenset(TASKS)
    options_class = PodOptions
    config: TrainConfig
    options: PodOptions

    def __init__(
        self, config: TrainConfig, options: PodOptions, shards: Shards, pod: Pod, base: Base
    ) -> None:
        super().__init__(config, options, shards)
        self.tasks = frozenset(config.tasks)
        self.pod, self.base = pod, base
        self.tokens = Tokens(base.tokenizer, base.render)
        ranks = bool(self.tasks - {"explanation"})
        self.memory = Memory(self.purchases) if options.memory and ranks else None
        # the T5's share in the scores of each task, the rest is the memory's
        self.share = nn.Parameter(torch.full((len(TASKS),), 0.5), requires_grad=False)
        # of what the sequential prompt says in the T5's answer to top-N, where it has both tasks
        self.history_share = nn.Parameter(torch.tensor(0.5), requires_grad=False)

    @classmethod
    def create(cls, config: TrainConfig, options: PodOptions, shards: Shards) -> Self:
        """Make the model that training starts from."""
        base = make_base(config, options, shards)
        model = cls(config, options, shards, _pod(base, options, shards, config.tasks), base)
        if base.start is not None:
            base.start(model.pod)
        model.reader.check(config.tasks)
        if model.memory is not None:
            model.memory.fit(model.purchases)
        return model

    @classmethod
    def restore(
        cls,
        config: TrainConfig,
        options: PodOptions,
        shards: Shards,
        folder: Path,
        description: dict[str, Any],
    ) -> Self:
        """Make the model of a run again. Errors: `PodError` if its tokenizer cannot be read."""
        where = (folder / "tokenizer").resolve()
        try:
            tokenizer = AutoTokenizer.from_pretrained(
                where, local_files_only=True, trust_remote_code=False
            )
        except (OSError, ValueError):
            raise PodError(f"{where} is damaged: train again") from None
        base = Base(
            empty_t5(description["t5"], tied=description["tied"]),
            tokenizer,
            description["render"],
            description["input_vocab_size"],
            options.id_digits,
            options.init,
        )
        return cls(config, options, shards, _pod(base, options, shards, config.tasks), base)

    def describe(self) -> dict[str, Any]:
        """Return the T5's config, and how items are written and read."""
        t5 = self.pod.t5
        return {
            # transformers leaves this one out of its own JSON
            "t5": t5.config.to_dict() | {"scale_decoder_outputs": t5.config.scale_decoder_outputs},
            "input_vocab_size": self.base.input_vocab_size,
            "tied": t5.lm_head.weight is t5.shared.weight,
            "render": self.base.render,
            "rounds_per_epoch": self.schedule.rounds_per_epoch,
        }

    def resolved_options(self) -> dict[str, Any]:
        """Return what `auto` and the default came to."""
        return {"id_digits": self.base.id_digits, "init": self.base.init}

    def save_assets(self, folder: Path) -> None:
        """Write the tokenizer."""
        self.base.tokenizer.save_pretrained(folder / "tokenizer")

    # ------------------------------------------------------------------ training

    @cached_property
    def reader(self) -> SampleTokenizer:
        """What tokenises samples for the model."""
        config: Any = self.pod.t5.config
        plans = self.options.plan and "explanation" in self.tasks
        return SampleTokenizer(self.shards, self.tokens, int(config.eos_token_id), plans=plans)

    @cached_property
    def schedule(self) -> Schedule:
        """The training batches of the tasks."""
        config = self.config
        return Schedule.of(
            self.options.schedule, self.reader, config.tasks, config.batch_size, config.seed
        )

    @property
    def epoch_steps(self) -> int:
        """See `Schedule.epoch_steps`."""
        return self.schedule.epoch_steps

    def begin_training(self) -> None:
        """Leave each user's own purchases out of the vectors that its prompts are read by."""
        if self.base.init != "spectral":
            return
        first = int(self.tokens.items(1).values[0])
        vectors = vectors_of(self.shards, self.pod.t5, self.config.seed)
        leave_fold_out(self.pod, vectors, first)

    def batches(self, step: int, world: World) -> Iterator[list[Batch]]:
        """Yield what each step from `step` on trains on: a batch, or a part of each task."""
        return self.schedule.batches(step, world.rank, world.size)

    def validation_batches(self, task: str) -> Iterator[Batch]:
        """Yield validation samples, which have the bare template."""
        return self.reader.split(task, "valid", VALID_SAMPLES).by_length(VALID_BATCH)

    def micro_batches(self, batch: Batch) -> Iterator[Inputs]:
        """Cut a batch for a CPU's caches; a GPU takes it whole."""
        return self.pod.micro_batches(self.pod.inputs(batch))

    def loss(self, batch: Inputs) -> Tensor:
        """Return the negative log-likelihood of the targets, summed (paper 3.4)."""
        loss: Tensor = self.pod(batch)
        return loss

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Weights that multiply decay; vectors that stand for something do not."""
        matrices: list[Tensor] = []
        vectors: list[Tensor] = []
        for name, parameter in self.pod.named_parameters():
            multiplies = parameter.ndim == 2 and name.startswith("t5.") and "shared" not in name
            (matrices if multiplies else vectors).append(parameter)
        return [
            {"params": matrices, "weight_decay": self.config.weight_decay},
            {"params": vectors, "weight_decay": 0.0},
        ]

    # ------------------------------------------------------------------ asking

    @cached_property
    def _trie(self) -> Trie:
        """The catalogue as a trie of tokens.

        Every item must survive being rendered, tokenised, put into the trie, written as text and
        parsed. Errors: `PodError` where one does not.
        """
        items = self.tokens.items(self.shards.n_items)
        rows = [row.tolist() for row in map(items.row, range(len(items)))]
        trie = Trie.build(rows, self.reader.end)
        for item_id, row in enumerate(rows, 1):
            text = self.tokens.text(row)
            if self.tokens.parse(text) != item_id or trie.parse(row) != item_id:
                raise PodError(
                    f"item {item_id} comes back from the tokenizer as {text!r}: train with a "
                    "--base whose tokenizer keeps numbers as they are"
                )
        return trie

    @property
    def trie(self) -> Trie:
        """The catalogue as a trie, on the model's device."""
        if self._trie.path.device != self.device:
            self.__dict__["_trie"] = self._trie.to(self.device)
        return self._trie

    def prompts(self, task: str, user_id: Ints, lists: list[list[int]]) -> Inputs:
        """Return bare prompts as the model reads them; lists: history, candidates or the item."""
        # somebody new: our own bases hide the user's token, others spell a user that is nobody
        lowest = 0 if self.pod.input_embedding is None else 1
        batch = bare_prompts(self.shards, self.tokens, task, user_id, lists, lowest_user=lowest)
        return self.pod.inputs(batch)

    @torch.inference_mode()
    def encode(self, prompts: Inputs) -> tuple[Tensor, Tensor]:
        """Return encoder states and their mask."""
        return self.pod.encode(prompts)

    def _sequential(self, queries: Queries) -> Inputs:
        longest = int(self.shards.manifest["inputs"]["options"]["history"])
        cut = queries.cut(longest)
        histories = [cut.history(i).tolist() for i in range(len(cut))]
        return self.prompts("sequential", queries.user_id, histories)

    def scores(self, queries: Queries) -> Floats:
        """Return the log-probability of every item. Errors: `PodError` where it was not trained."""
        model = self.t5_scores(queries)
        return self.mixed("sequential", model, lambda memory: memory.scores(queries))

    def candidate_scores(self, queries: Queries, candidates: Ints) -> Floats:
        """Return log-probabilities among candidates, by the top-N prompt, else by the history."""
        task = "topn" if "topn" in self.tasks else "sequential"
        model = self.t5_candidate_scores(queries, candidates)
        return self.mixed(task, model, lambda memory: gathered(memory.scores(queries), candidates))

    def mixed(self, task: str, model: Floats, counted: Callable[[Memory], Floats]) -> Floats:
        """Return the log-probabilities that are proportional to p^share m^(1 - share)."""
        share = float(self.share[TASKS.index(task)])
        if self.memory is None or share == 1:
            return log_softmax(model)
        return mixture(model, counted(self.memory), share)

    def validation_ndcg(
        self, queries: Queries, targets: Ints, candidates: Ints | None, world: World
    ) -> float:
        """Return the mean NDCG@10 of the best share of the T5 beside the memory, which is kept."""
        if self.memory is None:
            return super().validation_ndcg(queries, targets, candidates, world)
        both = candidates is not None and {"topn", "sequential"} <= self.tasks
        prompts = HISTORY_SHARES if both else HISTORY_SHARES[:1]
        sums = np.zeros((len(prompts), len(SHARES)))
        for rows, some in queries.batches(batch_size(self.n_items)):
            if candidates is None:
                parts, memory = [self.t5_scores(some)], self.memory.scores(some)
                parts[0][some.seen()] = -np.inf
                column = targets[rows] - 1
            else:
                parts = self._prompt_scores(some, candidates[rows])
                memory = gathered(self.memory.scores(some), candidates[rows])
                column = (candidates[rows] == targets[rows, None]).argmax(1)
            for h, history in enumerate(prompts):
                model = weighted(parts[-1], parts[0], float(history)) if both else parts[0]
                for n, share in enumerate(SHARES):
                    ranks = ranks_of(weighted(model, memory, float(share)), column)
                    sums[h, n] += per_user(ranks, 10)[1].sum()
        found = world.sum(torch.from_numpy(sums).to(self.device)).cpu().numpy()
        users = world.sum(torch.tensor(float(len(queries)), device=self.device)).item()
        h, n = divmod(int(found.argmax()), len(SHARES))
        self.share[TASKS.index("sequential" if candidates is None else "topn")] = SHARES[n]
        if both:
            self.history_share.fill_(float(HISTORY_SHARES[h]))
        return float(found[h, n] / max(users, 1))

    def t5_scores(self, queries: Queries) -> Floats:
        """Return the T5's log-probability of every item."""
        self._must("sequential", "give --candidates, or train with it")
        states, mask = self.encode(self._sequential(queries))
        return np.asarray(score_catalogue(self.pod.t5, states, mask, self.trie).cpu())

    def t5_candidate_scores(self, queries: Queries, candidates: Ints) -> Floats:
        """Return the T5's log-probabilities of candidates: by the top-N prompt, which has no
        history, and by the sequential prompt, which has no candidates, as far as it has the tasks.
        """
        parts = self._prompt_scores(queries, candidates)
        if len(parts) == 1:
            return parts[0]
        return weighted(parts[1], parts[0], float(self.history_share))

    def _prompt_scores(self, queries: Queries, candidates: Ints) -> list[Floats]:
        """Return what the prompts of top-N and of the sequential task say of candidates."""
        parts = []
        if "topn" in self.tasks:
            parts.append(self._topn_scores(queries, candidates))
        if "sequential" in self.tasks:
            parts.append(gathered(self.t5_scores(queries), candidates))
        return parts

    def _topn_scores(self, queries: Queries, candidates: Ints) -> Floats:
        lists = [[i for i in row if i] for row in candidates.tolist()]
        states, mask = self.encode(self.prompts("topn", queries.user_id, lists))
        wanted = torch.from_numpy(candidates).to(self.device)
        return np.asarray(score_candidates(self.pod.t5, states, mask, self.trie, wanted).cpu())

    def search(
        self, queries: Queries, n: int, *, method: str, beams: int, candidates: Ints | None
    ) -> tuple[Ints, Floats, int]:
        """Return the n best items of each query by a beam search, their scores, and how many of
        them were drawn at random: by `pod`, whose answers may be no item, as published."""
        prompts = self._sequential(queries)
        if candidates is not None:
            lists = [[i for i in row if i] for row in candidates.tolist()]
            prompts = self.prompts("topn", queries.user_id, lists)
        if method == "pod":
            return published_items(self, prompts, queries.user_id, beams, n)
        found, scores = beam_items(self.pod.t5, *self.encode(prompts), self.trie, beams, n)
        return np.asarray(found.cpu()), np.asarray(scores.cpu()), 0

    def texts(self, pairs: Pairs) -> list[str]:
        """Write a sentence for each pair: see `podtrain.recommenders.pod.explaining`."""
        self._must("explanation", "train with --tasks explanation too")
        return explanations(self, pairs)

    def explanation_prompts(self, pairs: Pairs) -> Inputs:
        """Return the bare prompts of pairs."""
        items = [[item] for item in pairs.item_id.tolist()]
        return self.prompts("explanation", pairs.user_id, items)

    def write(
        self, prompts: Inputs, beams: int, n: int = 1, *, limits: tuple[int, int]
    ) -> tuple[list[str], Floats]:
        """Write freely: n texts a prompt, best first, and their scores (mean log-probability)."""
        tokens, scores = beam_text(
            self.pod.t5,
            *self.encode(prompts),
            beams=beams,
            min_length=limits[0],
            max_length=limits[1],
            n=n,
        )
        texts = [self.tokens.text(t) for t in tokens]
        return texts, np.asarray(scores.cpu()).ravel()

    def cut_references(self, references: list[str]) -> list[str]:
        """Return references as the published evaluation cuts them."""
        return cut_references(self.tokens, references)

    def components(self) -> Mapping[str, Recommender]:
        """Return the T5 alone and the memory alone, where both have a part."""
        if self.memory is None:
            return {}
        return {"T5 alone": T5Alone(self), "memory alone": MemoryAlone(self)}

    def _must(self, task: str, mend: str) -> None:
        if task not in self.tasks:
            raise PodError(f"this run was not trained on the {task} task: {mend}")


def _pod(base: Base, options: PodOptions, shards: Shards, tasks: tuple[str, ...]) -> Pod:
    # a random start has nothing that explanations should not share
    explains = "explanation" in tasks and base.init == "spectral"
    items = None
    if base.input_vocab_size and not base.id_digits:
        first = int(Tokens(base.tokenizer, base.render).items(1).values[0])
        items = range(first, first + shards.n_items)
    return Pod(
        base.t5,
        soft_prompt_length=options.soft_prompt_length,
        whole_word_embeddings=options.whole_word_embeddings,
        input_vocab_size=base.input_vocab_size,
        user_dropout=options.user_dropout,
        items=items,
        explains=explains,
    )
