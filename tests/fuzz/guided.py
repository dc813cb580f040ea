"""Files that reach code of the readers that nothing reached before.

`python tests/fuzz/guided.py FORMAT SECONDS`, with `pip install atheris`.
"""

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["cnn_jax.data", "PIL", "scipy.io", "zipfile", "tarfile"]):
    from readers import look


def _guided(once: Callable[[bytes], None], example: bytes) -> None:
    seeds = Path(tempfile.mkdtemp())
    (seeds / "sound").write_bytes(example)
    options = (f"-max_total_time={sys.argv[2]}", "-max_len=65536", "-rss_limit_mb=6000")
    atheris.Setup([sys.argv[0], *options, str(seeds)], once)
    atheris.Fuzz()


look(sys.argv[1], _guided)
