"""Folders of pictures, as people have them: scanned, laid out, decoded and accounted for."""
# fmt: off

from cnn_jax.data.folders._layout import match_classes
from cnn_jax.data.folders._load import has_several_labels, load_pictures
from cnn_jax.data.folders._reader import Options
from cnn_jax.data.folders._pixels import (
    PICTURE_SUFFIXES, Decoded, Range, decode, has_frames, is_picture, on_ground, open_picture,
    to_bytes,
)
from cnn_jax.data.folders._resize import RESIZE, check_room, resize, resize_dataset
from cnn_jax.data.folders._scan import File, Folder, Scan, link_text, scan
from cnn_jax.data.folders._splits import SPLIT_WORDS
from cnn_jax.data.folders._tables import LABELS
from cnn_jax.data.folders._natural import natural

__all__ = [
    "LABELS", "PICTURE_SUFFIXES", "RESIZE", "SPLIT_WORDS", "Decoded", "File", "Folder", "Options",
    "Range", "Scan", "check_room", "decode", "has_frames", "has_several_labels", "is_picture",
    "link_text", "load_pictures", "match_classes", "natural", "on_ground", "open_picture", "resize",
    "resize_dataset", "scan", "to_bytes",
]
