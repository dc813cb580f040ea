"""Plain arrays in, figures and self-contained pages out.

Rooms of their own are the `report` of a run, `evaluate` for a trained one, the report of an
`ablation`, `explain` for what a network sees, and the `walkthrough` of the lecture. They share
`statistics` of accuracies, `predictions` (what probabilities say), `pictures` of a user's own, and
how `figures`, `charts` and `pages` are made.
"""
# fmt: off

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cnn_jax.analysis import (
        ablation, charts, evaluate, explain, figures, pages, pictures, predictions, report,
        statistics, walkthrough,
    )

__all__ = [
    "ablation", "charts", "evaluate", "explain", "figures", "pages", "pictures", "predictions",
    "report", "statistics", "walkthrough",
]


def __getattr__(name: str) -> Any:
    """A room, imported when it is first asked for."""
    if name in __all__:
        return import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
