"""What distrusts a dataset: leaks, bytes, laws, a second build."""
