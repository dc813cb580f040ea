"""JSON and arrays as they are written here."""

import io
import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np


def strict_json(content: Any, indent: int | None = None) -> str:
    """The content as JSON that every reader takes: null for a number that is not finite."""
    return json.dumps(_finite(content), indent=indent, allow_nan=False)


def npz(arrays: Mapping[str, Any], *, compressed: bool = False) -> bytes:
    """The arrays by name as `numpy.load` reads them; an object that is no array is refused."""
    content = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(content, allow_pickle=False, **arrays)
    return content.getvalue()


def _finite(content: Any) -> Any:
    if isinstance(content, float) and not math.isfinite(content):
        return None
    if isinstance(content, Mapping):
        return {name: _finite(value) for name, value in content.items()}
    return [*map(_finite, content)] if isinstance(content, (list, tuple)) else content
