"""Training data: the synthetic generator of textured layers with exact tracks."""
