"""The published figures that a table shows beside ours (POD, Tables 2 to 4)."""

import hashlib

from podprep.contract.schema import INTERACTIONS, ITEMS, USERS
from podprep.contract.shards import Shards

# All of them come from the published numbering of products, ties and explanation split: they
# compare with a dataset built with --compat pod, not with a clean one.
_RANKS = ("hit@1", "hit@5", "ndcg@5", "hit@10", "ndcg@10")
_TEXTS = ("bleu4", "rouge1_pod", "rouge2_pod", "rougeL_pod")
PUBLISHED: dict[str, dict[str, dict[str, float]]] = {
    "sequential": {
        "beauty": dict(zip(_RANKS[1:], (0.0537, 0.0395, 0.0688, 0.0443), strict=True)),
        "sports": dict(zip(_RANKS[1:], (0.0496, 0.0396, 0.0576, 0.0419), strict=True)),
        "toys": dict(zip(_RANKS[1:], (0.0691, 0.0599, 0.0742, 0.0610), strict=True)),
    },
    "topn": {
        "beauty": dict(zip(_RANKS, (0.0829, 0.1926, 0.1391, 0.2670, 0.1629), strict=True)),
        "sports": dict(zip(_RANKS, (0.0895, 0.2086, 0.1506, 0.2873, 0.1756), strict=True)),
        "toys": dict(zip(_RANKS, (0.0567, 0.1433, 0.1009, 0.2082, 0.1215), strict=True)),
    },
    "explanation": {
        "beauty": dict(zip(_TEXTS, (1.0630, 15.2517, 1.5737, 11.3283), strict=True)),
        "sports": dict(zip(_TEXTS, (1.0013, 14.0168, 2.0436, 11.1236), strict=True)),
        "toys": dict(zip(_TEXTS, (2.3053, 12.2889, 3.8512, 10.3923), strict=True)),
    },
}


# users, items and purchases of the published data
_COUNTS = {
    "beauty": (22_363, 12_101, 198_502),
    "sports": (35_598, 18_357, 296_337),
    "toys": (19_412, 11_924, 167_597),
}
# of the lines "reviewer asin", sorted; those of Sports and Toys were not at hand
_PURCHASES = {"beauty": "47373112441b28b01b76ffcfd081cdac59ed50e631bb0bdec79d7b8fca895128"}


def published(task: str, dataset: str) -> dict[str, float]:
    """Return POD's published figures for a dataset by name; none for the others."""
    return PUBLISHED[task].get(dataset, {})


def published_name(shards: Shards) -> str:
    """Return which published dataset this one has the purchases of, or nothing.

    By what was bought, not by what a dataset is called: numbers and ties may differ.
    """
    counts = (shards.n_users, shards.n_items, shards.rows(INTERACTIONS))
    name = next((name for name, known in _COUNTS.items() if known == counts), "")
    known = _PURCHASES.get(name)
    return name if known in (None, purchases_sha256(shards)) else ""


def purchases_sha256(shards: Shards) -> str:
    """Return the SHA-256 of the purchases as sorted lines of raw ids."""
    reviewers = shards.table(USERS)["reviewer_id"].to_pylist()
    asins = shards.table(ITEMS)["asin"].to_pylist()
    table = shards.table(INTERACTIONS, ["user_id", "item_id"])
    pairs = zip(table["user_id"].to_pylist(), table["item_id"].to_pylist(), strict=True)
    lines = sorted(f"{reviewers[user - 1]} {asins[item - 1]}\n" for user, item in pairs)
    return hashlib.sha256("".join(lines).encode()).hexdigest()
