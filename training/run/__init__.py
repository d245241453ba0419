"""A training run: its configuration, batches, loop, state, and what it leaves behind."""
