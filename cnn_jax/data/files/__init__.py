"""Data sets in files as they were published: IDX, CIFAR's records, arrays, tables, archives."""
# fmt: off

from cnn_jax.data.files.archives import is_archive, stem, unpack
from cnn_jax.data.files.open import open_files, several_labels_in_files

__all__ = [
    "is_archive", "open_files", "several_labels_in_files", "stem", "unpack",
]
