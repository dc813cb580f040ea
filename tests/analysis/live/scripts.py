"""The scripts of the pages, run by node outside of any page."""

import json
import shutil
import subprocess
from collections.abc import Sequence
from importlib import resources
from typing import Any

import pytest

NODE = shutil.which("node")
needs_node = pytest.mark.skipif(NODE is None, reason="node, which runs the scripts, is not here")


def run_script(files: Sequence[str], code: str, given: Any) -> Any:
    """What `code` returns, where `given` is what it is given and the files of the room are read.

    Args:
        files: of scripts, as in "engine.js".
        code: the body of a function.
        given: as JSON can hold it.
    """
    assert NODE is not None
    room = resources.files("cnn_jax.analysis.live")
    scripts = "\n".join(room.joinpath(file).read_text(encoding="utf-8") for file in files)
    body = (
        f"{scripts}\nconst given = JSON.parse(require('fs').readFileSync(0));\n"
        f"const found = (() => {{ {code} }})();\nprocess.stdout.write(JSON.stringify(found));"
    )
    done = subprocess.run(
        [NODE, "-e", body], input=json.dumps(given), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)
