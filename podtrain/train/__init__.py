"""Training: the configuration of a run, the loop, the run's folder."""
