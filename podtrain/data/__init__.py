"""From shards to batches: reading, tokens, streaming."""
