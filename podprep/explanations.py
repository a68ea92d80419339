"""Words to find explanations with, and explanations that another tool extracted."""

import gzip
import io
import json
import pickle
import re
import tomllib
from collections.abc import Iterator
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pyarrow as pa

from podprep.errors import PodError

ROLES = (
    "generic", "determiner", "subject", "copula", "adverb", "quality", "plain", "love", "make",
    "wish", "sense",
)  # fmt: skip
LEXICON = pa.schema(
    [
        ("word", pa.string()),
        ("tag", pa.string()),
        ("polarity", pa.int32()),
        ("subjectivity", pa.int32()),
        *((role, pa.bool_()) for role in ROLES),
    ]
)
SENTIMENT = pa.schema(
    [(name, pa.string()) for name in ("reviewer_id", "asin", "feature", "sentence")]
)
TAG = re.compile(r"^([a-z]\S+) ([A-Z]+)\S*$", re.MULTILINE)
OPINION = re.compile(
    r'<word form="([a-z]+)"[^>]* pos="JJ"[^>]* polarity="([^"]+)" subjectivity="([^"]+)"'
)


def load_lexicon() -> pa.Table:
    """Return the English words of textblob (tag, opinion in percent) with our words' roles.

    Errors: `PodError` where textblob's word lists are missing.
    """
    spec = find_spec("textblob")  # importing textblob takes a second; its files do not
    if spec is None or not spec.submodule_search_locations:
        raise PodError("textblob is not installed, whose word lists are read: pip install textblob")
    folder = Path(spec.submodule_search_locations[0]) / "en"
    try:
        tags = dict(TAG.findall((folder / "en-lexicon.txt").read_text(encoding="utf-8")))
        senses = OPINION.findall((folder / "en-sentiment.xml").read_text(encoding="utf-8"))
    except OSError as error:
        raise PodError(
            f"{error.filename}: {error.strerror}: pip install --force-reinstall textblob"
        ) from error
    # a word has several senses: the strongest counts
    polarity: dict[str, int] = {}
    subjectivity: dict[str, int] = {}
    for word, p, s in senses:
        polarity[word] = max(polarity.get(word, 0), round(100 * float(p)), key=abs)
        subjectivity[word] = max(subjectivity.get(word, 0), round(100 * float(s)))
    words_toml = (files("podprep") / "data" / "feature_words.toml").read_text(encoding="utf-8")
    roles = {role: frozenset(words.split()) for role, words in tomllib.loads(words_toml).items()}
    words = list({**tags, **polarity} | dict.fromkeys(w for role in roles.values() for w in role))
    columns = [
        words,
        [tags.get(w) for w in words],
        [polarity.get(w) for w in words],
        [subjectivity.get(w) for w in words],
        *([w in roles[role] for w in words] for role in ROLES),
    ]
    arrays = [pa.array(c, f.type) for c, f in zip(columns, LEXICON, strict=True)]
    return pa.Table.from_arrays(arrays, schema=LEXICON)
