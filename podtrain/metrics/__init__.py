"""How good a model is: the rank of the held-out item, and the words of an explanation."""
