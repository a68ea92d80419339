"""From a trained model to numbers: decode a split, rank, score texts, write what was predicted."""
