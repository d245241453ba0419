"""Videos with true point tracks: the synthetic generator, readers of datasets, augmentations."""
