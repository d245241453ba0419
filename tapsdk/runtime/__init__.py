"""Loaded models, and ways to run them. It knows no family of models, and does not choose what runs."""
