"""The statistics that images are normalized with."""

import numpy as np
from jaxtyping import Float32, UInt8

from cnn_jax.errors import UsageError

_CHUNK = 1024


def channel_statistics(
    images: UInt8[np.ndarray, "n h w c"],
) -> tuple[Float32[np.ndarray, "c"], Float32[np.ndarray, "c"]]:
    """Mean and standard deviation of each channel, of pixels scaled to [0, 1].

    Sums of integers are exact and taken over chunks of images, so that the answer does not depend
    on the order of the images and no float copy of them is made.

    Args:
        images: of the training split, so that nothing is learned from others.

    Returns:
        The mean and the (population) standard deviation per channel, both in units of a pixel
        scaled to [0, 1]. A constant channel has standard deviation 1, so that dividing by it is
        safe.

    Raises:
        UsageError: there are no images.
    """
    if not images.size:
        raise UsageError(f"images have shape {images.shape}, expected at least one pixel")
    channels = images.shape[-1]
    total = np.zeros(channels, np.uint64)
    total_squares = np.zeros(channels, np.uint64)
    for start in range(0, len(images), _CHUNK):
        chunk = images[start : start + _CHUNK]
        # Over images first: summing long rows is many times faster than summing rows of 3.
        total += chunk.sum(axis=0, dtype=np.uint64).sum(axis=(0, 1))
        # 255 squared still fits 16 bits.
        squares = np.square(chunk, dtype=np.uint16)
        total_squares += squares.sum(axis=0, dtype=np.uint64).sum(axis=(0, 1))
    count = images.size // channels
    # Python's integers keep E[x^2] - E[x]^2 exact: no cancellation, and constant means exactly 0.
    pairs = zip(total.tolist(), total_squares.tolist(), strict=True)
    variance = np.array([(s * count - t * t) / count**2 for t, s in pairs])
    std = np.where(variance == 0, 255.0, np.sqrt(variance))
    return (total / count / 255).astype(np.float32), (std / 255).astype(np.float32)
