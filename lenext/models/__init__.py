"""The networks: one file per paper family, one catalog of names."""

from lenext.models.catalog import build, fits, get_config, list_models, small_row
from lenext.models.classifier import Classifier, NetworkConfig
from lenext.models.init import initialise

__all__ = [
    "Classifier",
    "NetworkConfig",
    "build",
    "fits",
    "get_config",
    "initialise",
    "list_models",
    "small_row",
]
