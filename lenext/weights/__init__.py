"""Weights that others have trained: read safely, renamed by each family's key map, checked to the last tensor."""

from lenext.weights.conversion import Conversion, convert, convert_with_report

__all__ = ["Conversion", "convert", "convert_with_report"]
