"""JSON as it is written here: with nothing that is no JSON."""

import json
import math
from collections.abc import Mapping
from typing import Any


def strict_json(content: Any, indent: int | None = None) -> str:
    """The content as JSON that every reader takes: null for a number that is not finite."""
    return json.dumps(_finite(content), indent=indent, allow_nan=False)


def _finite(content: Any) -> Any:
    if isinstance(content, float) and not math.isfinite(content):
        return None
    if isinstance(content, Mapping):
        return {name: _finite(value) for name, value in content.items()}
    return [*map(_finite, content)] if isinstance(content, (list, tuple)) else content
