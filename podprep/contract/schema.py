"""Which files a dataset has, and the columns of each."""

import pyarrow as pa

SCHEMA_VERSION = 1
PART_ROWS = 16_384  # samples in a part; decides file boundaries, so it is part of the contract
GROUP_ROWS = 4_096  # samples in a row group, the unit in which a stream reads

USERS = "catalog/users.parquet"
ITEMS = "catalog/items.parquet"
INTERACTIONS = "catalog/interactions.parquet"
NEGATIVES = "catalog/negatives.parquet"
EXPLANATIONS = "catalog/explanations.parquet"
REJECTS = "rejects.parquet"

_ID = pa.int32()
_IDS = pa.list_(pa.field("element", pa.int32()))
_SAMPLE = [
    ("sample_id", pa.int64()),
    ("user_id", _ID),
    ("item_id", _ID),
    ("template_id", pa.string()),
    ("prompt", pa.string()),
    ("target", pa.string()),
]
SCHEMAS = {
    "users": pa.schema([("user_id", _ID), ("reviewer_id", pa.string())]),
    "items": pa.schema([("item_id", _ID), ("asin", pa.string())]),
    "items_with_metadata": pa.schema(
        [
            ("item_id", _ID),
            ("asin", pa.string()),
            ("title", pa.string()),
            ("brand", pa.string()),
            ("categories", pa.list_(pa.field("element", pa.string()))),
        ]
    ),
    "interactions": pa.schema(
        [
            ("user_id", _ID),
            ("position", _ID),
            ("item_id", _ID),
            ("timestamp", pa.timestamp("ms")),
            ("rating", pa.float32()),
            ("tied", pa.bool_()),
            ("split", pa.string()),
        ]
    ),
    "negatives": pa.schema([("user_id", _ID), ("split", pa.string()), ("item_ids", _IDS)]),
    "explanations": pa.schema(
        [
            ("user_id", _ID),
            ("item_id", _ID),
            ("split", pa.string()),
            ("feature", pa.string()),
            ("sentence", pa.string()),
        ]
    ),
    "rejects": pa.schema(
        [("line_number", pa.int64()), ("reason", pa.string()), ("line", pa.string())]
    ),
    "sequential": pa.schema([*_SAMPLE, ("history", _IDS)]),
    "topn": pa.schema([*_SAMPLE, ("candidates", _IDS)]),
    "explanation": pa.schema(_SAMPLE),
}


def sample_path(task: str, split: str, round_: int, part: int) -> str:
    """Return where a part of the samples lies within the dataset."""
    return f"samples/task={task}/split={split}/round={round_}/part-{part:05}.parquet"
