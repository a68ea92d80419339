"""Distrusting a dataset: leaks, bytes, invariants, a second build."""
