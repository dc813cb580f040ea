"""Image-classification data: a name or a path in, uint8 NHWC arrays and labels out.

Only numpy is imported here; TensorFlow Datasets, Pillow and rich are imported when a source needs
them.
"""
# fmt: off

from cnn_jax.data._by_name import in_order_of
from cnn_jax.data._repeats import hash_images, imbalance, repeats
from cnn_jax.data.dataset import (
    AS_THEY_ARE, Dataset, PixelRule, Split, channel_statistics, hold_out, take,
)
from cnn_jax.data.folders import LABELS, RESIZE, match_classes
from cnn_jax.data.layouts import describe as describe_layouts
from cnn_jax.data.registry import DATASETS, is_multi_label, is_of_files, load

__all__ = [
    "AS_THEY_ARE", "DATASETS", "LABELS", "RESIZE", "Dataset", "PixelRule", "Split",
    "channel_statistics", "describe_layouts", "hash_images", "hold_out", "imbalance", "in_order_of",
    "is_multi_label", "is_of_files", "load", "match_classes", "repeats", "take",
]
