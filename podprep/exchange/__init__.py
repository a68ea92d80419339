"""To the layouts of others and back."""
