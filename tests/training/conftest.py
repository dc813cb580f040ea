"""A task small enough to train in no time."""

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax.training import Examples, Task

CLASSES = 4
Draw = Callable[..., Examples]


@pytest.fixture(scope="session")
def draw() -> Draw:
    """Draws gray 8x8 images, each with one bright quarter: the class."""

    def examples(n: int, seed: int = 0) -> Examples:
        rng = np.random.default_rng(seed)
        labels = rng.integers(0, CLASSES, n, dtype=np.int32)
        images = rng.integers(0, 160, (n, 8, 8, 1))
        for image, label in zip(images, labels, strict=True):
            row, column = divmod(int(label), 2)
            image[4 * row : 4 * row + 4, 4 * column : 4 * column + 4] += 80
        return Examples(jnp.asarray(images, jnp.uint8), jnp.asarray(labels))

    return examples


@pytest.fixture(scope="session")
def task() -> Task:
    """The shape of that problem."""
    return Task((8, 8, 1), CLASSES, (0.4,), (0.2,))


@pytest.fixture(scope="session")
def enlarged(draw: Draw) -> Draw:
    """The same at 16x16 pixels, each pixel four times: what deeper networks need."""

    def examples(n: int, seed: int = 0) -> Examples:
        small = draw(n, seed)
        return Examples(small.images.repeat(2, axis=1).repeat(2, axis=2), small.labels)

    return examples


@pytest.fixture(scope="session")
def enlarged_task(task: Task) -> Task:
    """The shape of that problem."""
    return task._replace(image_shape=(16, 16, 1))
