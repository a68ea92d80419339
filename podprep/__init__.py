"""From a raw dump of reviews to Parquet shards of prompts and targets."""

__version__ = "0.1.0"
