"""Exports to the layouts of others, and imports from them."""
