"""DuckDB over a finished dataset."""
