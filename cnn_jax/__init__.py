"""cnn_jax: train, ablate and understand convolutional image classifiers in JAX.

Its rooms, and the decorators that register what is your own, are there after `import cnn_jax`; they
are imported when they are first used.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cnn_jax import analysis, api, compilation, data, extend, models, native, ops, training
    from cnn_jax.api import ablate, load_run, train
    from cnn_jax.extend import (
        activation,
        augmentation,
        dataset,
        loss,
        network,
        normalization,
        optimizer,
        pooling,
        schedule,
    )

__all__ = [
    "ablate",
    "activation",
    "analysis",
    "api",
    "augmentation",
    "compilation",
    "data",
    "dataset",
    "extend",
    "load_run",
    "loss",
    "models",
    "native",
    "network",
    "normalization",
    "ops",
    "optimizer",
    "pooling",
    "schedule",
    "train",
    "training",
]
__version__ = "0.1.0"

_ROOMS = (
    "analysis", "api", "compilation", "data", "extend", "models", "native", "ops", "training"
)  # fmt: skip
# The room that each of the other names is in.
_NAMES = {name: "extend" for name in __all__ if name not in _ROOMS}
_NAMES |= {"ablate": "api", "load_run": "api", "train": "api"}


def __getattr__(name: str) -> Any:
    if name in _ROOMS:
        return importlib.import_module(f"{__name__}.{name}")
    if name in _NAMES:
        return getattr(importlib.import_module(f"{__name__}.{_NAMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
