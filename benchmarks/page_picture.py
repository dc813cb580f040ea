"""The picture of a report's sheet with a seven on it: `... page_picture RUN/report.html OUT.png`.

README's is of `make train`'s run, in headless Chromium.
"""

import base64
from pathlib import Path

from absl import app

from tests.analysis.live.browser import browser

WIDTH = 1100
# The pen's way, in shares of the sheet's sides from its upper left corner.
SEVEN = [(0.28, 0.25), (0.74, 0.25), (0.45, 0.8)]
READ = "document.getElementById('live').dataset.read"


def main(arguments: list[str]) -> None:
    """Draws on the page, and writes what is seen of its sheet and its readings."""
    _, page, out = arguments
    with browser() as tab:
        tab.open(Path(page), WIDTH)
        x, y, width, height = tab.value(
            "(({ x, y, width, height }) => [x, y, width, height])"
            "(document.getElementById('pad').getBoundingClientRect())"
        )
        tab.drag([(x + width * right, y + height * down) for right, down in SEVEN])
        tab.wait(READ)
        top, end = tab.value(
            "(({ y, bottom }) => [y, bottom])"
            "(document.getElementById('draw').getBoundingClientRect())"
        )
        clip = {"x": 0, "y": top, "width": WIDTH, "height": end - top, "scale": 1}
        shot = tab.send("Page.captureScreenshot", captureBeyondViewport=True, clip=clip)
        Path(out).write_bytes(base64.b64decode(shot["data"]))


if __name__ == "__main__":
    app.run(main)
