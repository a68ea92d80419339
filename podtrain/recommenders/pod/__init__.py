"""The model: T5 with task prompts and whole-word vectors, its bases, its checkpoints."""
