"""What a network costs before anybody pays it."""

from lenext.costs.operators import Cost, LayerCost, count_cost

__all__ = ["Cost", "LayerCost", "count_cost"]
