"""Where a dataset comes from: the registry, downloads, the sample, and reading dumps."""
