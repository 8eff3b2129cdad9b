"""The command line for tests of costs."""

from ..cli.conftest import lenext

__all__ = ["lenext"]
