"""cnn_jax: train, ablate and understand convolutional image classifiers in JAX.

Its rooms are there after `import cnn_jax`, and are imported when they are first used.
"""

import importlib
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cnn_jax import analysis, compilation, data, models, ops, training

__all__ = ["analysis", "compilation", "data", "models", "ops", "training"]
__version__ = "0.1.0"


def __getattr__(name: str) -> ModuleType:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return importlib.import_module(f"{__name__}.{name}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
