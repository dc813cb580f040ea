"""Bars that move while a compiled epoch says nothing."""

import time
from typing import Any

from rich.progress import BarColumn, Progress, Task, TaskID
from rich.progress_bar import ProgressBar


class MovingBar(BarColumn):
    """A bar that goes on between two updates as fast as the last one came, and no further.

    What an epoch does is not known before it ends: a program that told of every step would be
    slower, and could not be kept on disk.
    """

    def render(self, task: Task) -> ProgressBar:
        """The bar as it stands now."""
        bar = super().render(task)
        passed = time.monotonic() - task.fields["since"]
        bar.completed += task.fields["stride"] * min(passed / task.fields["seconds"], 1.0)
        return bar


def pace(stride: float, seconds: float) -> dict[str, Any]:
    """How fast a bar begins, as fields of its task.

    Args:
        stride: by how much it will rise at its next update.
        seconds: until then, about.
    """
    return {"since": time.monotonic(), "stride": stride, "seconds": max(seconds, 1e-3)}


def move(progress: Progress, task: TaskID, completed: float, **fields: Any) -> None:
    """Updates a bar, whose next update is expected like this one, where it has risen."""
    (item,) = (item for item in progress.tasks if item.id == task)
    stride = completed - item.completed
    new = {} if stride <= 0 else pace(stride, time.monotonic() - item.fields["since"])
    progress.update(task, completed=completed, **new, **fields)
