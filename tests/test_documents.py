"""What the documents show runs as it stands."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = [ROOT / "README.md", ROOT / "WORKSPACE.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(file: Path) -> list[str]:
    """The Python code of a document, one block after the other."""
    return re.findall(r"^```python\n(.*?)^```$", file.read_text(), re.MULTILINE | re.DOTALL)


def test_readme_has_code():
    assert len(blocks(ROOT / "README.md")) >= 2


@pytest.mark.parametrize("file", [*filter(blocks, DOCUMENTS)], ids=lambda file: file.name)
def test_blocks_run_one_after_another(file: Path):
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", "\n".join(blocks(file))],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("file", DOCUMENTS, ids=lambda file: file.name)
def test_links_lead_somewhere(file: Path):
    for target in re.findall(r"\]\(([^)#:]+)\)", file.read_text()):
        assert (file.parent / target).exists(), target
