"""Image-classification data: a name or a path in, uint8 NHWC arrays and labels out.

Only numpy is imported here; TensorFlow Datasets, Pillow and rich are imported when a source needs
them.
"""
# fmt: off

from cnn_jax.data.dataset import Dataset, PixelRule, Split, channel_statistics, hold_out, take
from cnn_jax.data.registry import DATASETS, is_multi_label, load

__all__ = [
    "DATASETS", "Dataset", "PixelRule", "Split", "channel_statistics", "hold_out", "is_multi_label",
    "load", "take",
]
