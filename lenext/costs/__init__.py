"""What a network costs before anybody pays it."""

from lenext.costs.operators import Cost, count_cost

__all__ = ["Cost", "count_cost"]
