"""How large a network the programs that write pages may put into one."""

import re

from absl import flags

from cnn_jax.analysis.live import MOST_BYTES
from cnn_jax.errors import UsageError

_UNITS = {"kb": 1e3, "mb": 1e6, "gb": 1e9}

flags.DEFINE_string(
    "page_weights",
    f"{MOST_BYTES / 1e6:g}MB",
    "A page carries the trained network and runs it, if its weights take no more there (about 2.7 "
    "bytes for each); 0MB for none.",
)


def most_bytes() -> int:
    """What --page_weights allows.

    Raises:
        UsageError: if it is no size.
    """
    text = flags.FLAGS.page_weights
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmg]b)", text.strip().lower())
    if not found:
        raise UsageError(f"--page_weights={text} is no size; write it as 4MB or 500KB")
    return int(float(found[1]) * _UNITS[found[2]])
