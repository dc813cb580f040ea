"""How fast a page reads what is drawn on it: `python -m benchmarks.page_speed RUN/report.html ...`.

In headless Chromium. A guess is a drawing prepared, put through the network and ranked. A drag's
wait is from the first movement of the pointer that is not yet read to the beginning of the frame
after the one that shows its guesses, at 60 movements a second.
"""

import math
import statistics
import time
from pathlib import Path

from absl import app

from tests.analysis.live.browser import Browser, browser

GUESSES, MOVES = 100, 180
GUESS = """
    (async () => {
      const described = JSON.parse(document.getElementById("weights").textContent);
      const network = loadNetwork(described), found = [], pad = document.getElementById("pad");
      const paper = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
      [paper.canvas.width, paper.canvas.height] = [pad.width, pad.height];
      paper.drawImage(pad, 0, 0);
      for (let i = 0; i < %d; i++) {
        const start = performance.now();
        const picture = pictureOf(paper.canvas, described.shape[2]);
        const [logits] = network.forward(prepare(picture, described).image.data);
        ranked(network, network.probabilities(logits.data));
        found.push(performance.now() - start);
        await new Promise(requestAnimationFrame);
      }
      return found;
    })()
"""
WATCH = """
    (() => {
      window.waits = [];
      let first = null;
      document.getElementById("pad").addEventListener("pointermove", event => {
        if (event.buttons) first ??= event.timeStamp;
      });
      new MutationObserver(() => {
        const begun = first;
        first = null;
        if (begun === null) return;
        // It was read in a frame: the next one begins when that is on its way to the screen. Tasks
        // would wait until the pointer rests.
        requestAnimationFrame(() => waits.push(performance.now() - begun));
      }).observe(document.getElementById("ranks"), { childList: true });
    })()
"""


def main(arguments: list[str]) -> None:
    """Prints a line for each page."""
    with browser() as tab:
        for name in arguments[1:]:
            tab.open(Path(name))
            time.sleep(1)  # the page warms up
            waits = _drag(tab)
            guesses = sorted(tab.value(GUESS % GUESSES))
            print(
                f"{name}: a guess {statistics.median(guesses):.1f} ms, at most {guesses[-1]:.1f}; "
                f"a drag waits {statistics.median(waits):.0f} ms, at most {max(waits):.0f} "
                f"({len(waits)} readings of {MOVES} movements)"
            )
            assert (tab.said, tab.requests) == ([], [])


def _drag(tab: Browser) -> list[float]:
    """A spiral drawn on the sheet; how long each reading was waited for, in milliseconds."""
    tab.value(WATCH)
    tab.value("document.getElementById('pad').scrollIntoView({ block: 'center' })")
    time.sleep(0.5)  # what comes into view is painted
    x, y, side = tab.value(
        "(({ x, y, width }) => [x, y, width])"
        "(document.getElementById('pad').getBoundingClientRect())"
    )
    mouse = {"button": "left", "clickCount": 1}
    for move in range(MOVES):
        angle, radius = move / 12, 0.4 * side * move / MOVES
        place = {
            "x": x + side / 2 + radius * math.cos(angle),
            "y": y + side / 2 + radius * math.sin(angle),
        }
        kind = "mouseMoved" if move else "mousePressed"
        tab.send("Input.dispatchMouseEvent", type=kind, buttons=1, **place, **mouse)
        time.sleep(1 / 60)
    tab.send("Input.dispatchMouseEvent", type="mouseReleased", buttons=0, **place, **mouse)
    tab.wait("document.getElementById('live').dataset.read")
    return tab.value("waits")


if __name__ == "__main__":
    app.run(main)
