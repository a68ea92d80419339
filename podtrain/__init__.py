"""From shards of prompts and targets to a recommender with distilled prompts."""

__version__ = "0.1.0"
