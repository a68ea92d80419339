"""From a dump to shards."""
