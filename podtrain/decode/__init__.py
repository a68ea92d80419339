"""From encoded prompts to ranked items and free text."""
