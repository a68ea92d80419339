"""The names of tasks and splits."""

TASKS = ("sequential", "topn", "explanation")  # in the order in which samples are written
SPLITS = ("train", "valid", "test")
