"""A trained model, asked: the batches of a split through the encoder and a decoder."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from podprep.contract.errors import PodError
from podprep.contract.shards import Shards
from podtrain.data.stream import Batch, SampleTokenizer
from podtrain.decode.beam import beam_items, beam_text
from podtrain.decode.exact import score_candidates, score_catalogue
from podtrain.decode.trie import Trie
from podtrain.recommenders.pod.model import Inputs, Pod
from podtrain.run import Run
from podtrain.train.device import autocast, choose_device, choose_precision

# Of an explanation, its end included; the published 10 and 50 count the start, too (exp.py:21-28).
MIN_TOKENS, MAX_TOKENS = 9, 49

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Asked:
    """A model with the catalogue it can name, on a device."""

    model: Pod
    reader: SampleTokenizer
    trie: Trie
    device: torch.device
    precision: str

    @classmethod
    def of(
        cls, run: Run, shards: Shards, device: str = "auto", precision: str | None = None
    ) -> "Asked":
        """Load a run's best weights.

        Every item must survive being rendered, tokenised, put into the trie, written as text and
        parsed. Errors: `PodError` where one does not.
        """
        where = choose_device(device)
        reader = run.reader(shards)
        items = reader.tokens.items(shards.n_items)
        rows = [row.tolist() for row in map(items.row, range(len(items)))]
        trie = Trie.build(rows, reader.end)
        for item_id, row in enumerate(rows, 1):
            text = reader.tokens.text(row)
            if reader.tokens.parse(text) != item_id or trie.parse(row) != item_id:
                raise PodError(
                    f"item {item_id} comes back from the tokenizer as {text!r}: train with a "
                    "--base whose tokenizer keeps numbers as they are"
                )
        model = run.model().to(where)
        chosen = choose_precision(precision or run.config.precision, where)
        return cls(model, reader, trie.to(where), where, chosen)

    def encode(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return encoder states and their mask."""
        with torch.inference_mode(), autocast(self.precision, self.device):
            states, mask = self.model.encode(Inputs.of(batch, self.device))
        return states.float(), mask

    def catalogue_scores(self, batch: Batch) -> Floats:
        """Return the log-probability of every item, (samples, items)."""
        return np.asarray(score_catalogue(self.model.t5, *self.encode(batch), self.trie).cpu())

    def candidate_scores(self, batch: Batch, candidates: Ints) -> Floats:
        """Return the log-probabilities of candidates (samples, C), padded with 0: -inf there."""
        wanted = torch.from_numpy(candidates).to(self.device)
        found = score_candidates(self.model.t5, *self.encode(batch), self.trie, wanted)
        return np.asarray(found.cpu())

    def beam(self, batch: Batch, beams: int, n: int) -> tuple[Ints, Floats]:
        """Return what a beam over the catalogue finds: items (samples, n) and scores."""
        found, scores = beam_items(self.model.t5, *self.encode(batch), self.trie, beams, n)
        return np.asarray(found.cpu()), np.asarray(scores.cpu())

    def texts(
        self, batch: Batch, beams: int, n: int = 1, limits: tuple[int, int] | None = None
    ) -> tuple[list[str], Floats]:
        """Write freely: n texts a sample, best first, and their scores (mean log-probability)."""
        least, most = limits or (MIN_TOKENS, MAX_TOKENS)
        tokens, scores = beam_text(
            self.model.t5,
            *self.encode(batch),
            beams=beams,
            min_length=least,
            max_length=most,
            n=n,
        )
        return [self.reader.tokens.text(t) for t in tokens], np.asarray(scores.cpu()).ravel()


def candidates_of(shards: Shards, split: str) -> Ints:
    """Return the candidates of each top-N sample of a split, (samples, C), padded with 0."""
    lists = shards.sample_table("topn", split)["candidates"].combine_chunks()
    flat, offsets = lists.flatten().to_numpy(), lists.offsets.to_numpy()
    lengths = np.diff(offsets)
    out = np.zeros((len(lengths), int(lengths.max(initial=0))), np.int64)
    out[np.arange(out.shape[1]) < lengths[:, None]] = flat
    return out
