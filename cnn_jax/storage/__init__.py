"""Files that last: written whole or not at all, known by a checksum, by one process at a time."""

from cnn_jax.storage._encoding import npz as npz
from cnn_jax.storage._encoding import strict_json as strict_json
from cnn_jax.storage._lock import LOCK_FILE as LOCK_FILE
from cnn_jax.storage._lock import holder as holder
from cnn_jax.storage._lock import locked as locked
from cnn_jax.storage._sums import SUMS_FILE as SUMS_FILE
from cnn_jax.storage._sums import DamagedError as DamagedError
from cnn_jax.storage._sums import is_recorded as is_recorded
from cnn_jax.storage._sums import link as link
from cnn_jax.storage._sums import read as read
from cnn_jax.storage._sums import record as record
from cnn_jax.storage._sums import recorded as recorded
from cnn_jax.storage._sums import remove as remove
from cnn_jax.storage._writing import PART as PART
from cnn_jax.storage._writing import WriteError as WriteError
from cnn_jax.storage._writing import append as append
from cnn_jax.storage._writing import check_writable as check_writable
from cnn_jax.storage._writing import is_part as is_part
from cnn_jax.storage._writing import make_folder as make_folder
from cnn_jax.storage._writing import remove_parts as remove_parts
from cnn_jax.storage._writing import write as write

__all__ = [
    "LOCK_FILE",
    "PART",
    "SUMS_FILE",
    "DamagedError",
    "WriteError",
    "append",
    "check_writable",
    "holder",
    "is_part",
    "is_recorded",
    "link",
    "locked",
    "make_folder",
    "npz",
    "read",
    "record",
    "recorded",
    "remove",
    "remove_parts",
    "strict_json",
    "write",
]
