"""The options of POD."""

from dataclasses import dataclass

from podtrain.train.options import Options, option

SCHEDULES = ("alternate", "proportional", "mixed")
INITS = ("auto", "spectral", "random")


@dataclass(frozen=True, slots=True, kw_only=True)
class PodOptions(Options):
    """What POD takes beside the options of every model."""

    base: str = option("compact", "tiny, compact, small; or a T5 by folder or hub name.")
    soft_prompt_length: int = option(
        # the paper says 3, its published logs 10
        3,
        "Soft-prompt vectors in front of a prompt, for each task.",
        least=0,
        most=1000,
    )
    whole_word_embeddings: bool = option(True, "A vector for the place of each id in a prompt.")
    id_digits: int | None = option(
        None, "Digits of an id that make a token; 0: whole ids. Default: by size.", least=0, most=6
    )
    init: str = option(
        "auto",
        "spectral: from training co-purchases; random; auto: spectral where ids are whole.",
        choices=INITS,
    )
    schedule: str = option(
        "alternate",
        "alternate: tasks take turns; proportional: each as often as it has batches, so that an "
        "epoch is a round of every task; mixed: all in each batch.",
        choices=SCHEDULES,
    )
    temperature: float = option(
        # .1 gave NDCG@10 .0549 on Beauty's validation split after an epoch, .07 .0555
        0.07,
        "Items are scored by their cosine over this, where ids are whole; 0: by products.",
        least=0,
        most=10,
    )
    memory: bool = option(True, "Mix in a memory of training co-purchases.")
    dropout: float = option(0.1, "Dropout of the T5.", least=0, most=0.9)
    user_dropout: float = option(
        0.0,
        "Share of sequential and explanation prompts that hide their user in training.",
        least=0,
        most=1,
    )
    plan: bool = option(True, "Explanations name their feature first, then the sentence.")
