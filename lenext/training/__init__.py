"""Training: a classifier and batches in, steps and a trained classifier out."""
