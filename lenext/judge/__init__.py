"""Measures of how good predictions are; numpy on Predictions."""
