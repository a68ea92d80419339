"""The words that features and explanations are found with: data/lexicon.tsv with roles of ours."""

import hashlib
import tomllib
from importlib.resources import files

import pyarrow as pa
from pyarrow import csv

WORDS, ROLE_WORDS = "lexicon.tsv", "feature_words.toml"
ROLES = (  # the lists of feature_words.toml
    "generic", "determiner", "subject", "copula", "adverb", "quality", "plain", "love", "make",
    "wish", "sense", "like", "pause", "speaker",
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


def load_lexicon() -> pa.Table:
    """Return one row per word: part of speech, opinion in percent, and its roles."""
    body = b"".join(line for line in _data(WORDS).splitlines(True) if not line.startswith(b"#"))
    table = csv.read_csv(
        pa.BufferReader(body),
        parse_options=csv.ParseOptions(delimiter="\t", quote_char=False),
        convert_options=csv.ConvertOptions(
            column_types={field.name: field.type for field in LEXICON}, strings_can_be_null=False
        ),
    )
    columns = {name: table[name].to_pylist() for name in table.column_names}
    listed = tomllib.loads(_data(ROLE_WORDS).decode())
    roles = {role: frozenset(listed[role].split()) for role in ROLES}
    known = set(columns["word"])
    for word in dict.fromkeys(w for role in ROLES for w in listed[role].split()):
        if word not in known:
            for name, value in zip(columns, (word, "", None, None), strict=True):
                columns[name].append(value)
    columns |= {role: [w in roles[role] for w in columns["word"]] for role in ROLES}
    return pa.table(columns, LEXICON)


def word_list_hashes() -> dict[str, str]:
    """Return the SHA-256 of each word list, for the manifest: other words, other explanations."""
    return {name: hashlib.sha256(_data(name)).hexdigest() for name in (WORDS, ROLE_WORDS)}


def _data(name: str) -> bytes:
    return (files("podprep") / "data" / name).read_bytes()
