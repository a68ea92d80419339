"""Recommenders behind one seam: what counts, and what is trained."""
