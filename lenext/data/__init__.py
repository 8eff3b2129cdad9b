"""From a named set of images to batches: sources, stores, split, plan, augment, preprocess."""
