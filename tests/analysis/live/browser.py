"""A page in headless Chromium, driven over a pipe by its DevTools protocol."""

import base64
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not here")
# Where `npm install --no-save axe-core` puts it.
AXE = Path(__file__).parents[3] / "node_modules" / "axe-core" / "axe.min.js"
needs_axe = pytest.mark.skipif(not AXE.is_file(), reason="axe-core is not here")
# Longer than anything takes on a busy machine.
PATIENCE = 60.0


class Browser:
    """One tab.

    Attributes:
        said: what the page wrote to the console, and its errors.
        requests: addresses that it asked for, itself apart.
    """

    def __init__(self, read: int, write: int):
        self._read, self._write, self._rest, self._number = read, write, b"", 0
        self.said: list[str] = []
        self.requests: list[str] = []
        (target,) = (
            each
            for each in self._send("Target.getTargets")["targetInfos"]
            if each["type"] == "page"
        )
        attach = {"targetId": target["targetId"], "flatten": True}
        self._session = self._send("Target.attachToTarget", **attach)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.send(f"{domain}.enable")
        self.send("Emulation.setFocusEmulationEnabled", enabled=True)

    def send(self, method: str, **params: Any) -> dict[str, Any]:
        """One command of the protocol, and its answer."""
        return self._send(method, self._session, **params)

    def _send(self, method: str, session: str | None = None, **params: Any) -> dict[str, Any]:
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        if session:
            message["sessionId"] = session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while (answer := self._receive()).get("id") != self._number:
            self._note(answer)
        assert "error" not in answer, answer
        return answer["result"]

    def _receive(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            part = os.read(self._read, 1 << 20)
            assert part, "Chromium has ended"
            self._rest += part
        message, self._rest = self._rest.split(b"\0", 1)
        return json.loads(message)

    def _note(self, event: dict[str, Any]) -> None:
        params = event.get("params", {})
        if event["method"] == "Runtime.exceptionThrown":
            self.said.append(json.dumps(params["exceptionDetails"])[:2000])
        elif event["method"] == "Runtime.consoleAPICalled":
            self.said.append(str([each.get("value") for each in params["args"]]))
        elif event["method"] == "Log.entryAdded":
            self.said.append(params["entry"]["text"])
        elif event["method"] == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])

    def open(self, page: Path, width: int = 1280, dark: bool = False, motion: bool = True) -> None:
        """Shows a file, in a window so wide."""
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        self.send("Emulation.setDeviceMetricsOverride", **size)
        features = [
            {"name": "prefers-color-scheme", "value": "dark" if dark else "light"},
            {"name": "prefers-reduced-motion", "value": "no-preference" if motion else "reduce"},
        ]
        self.send("Emulation.setEmulatedMedia", features=features)
        self.said, self.requests = [], []
        address = page.resolve().as_uri()
        self.send("Page.navigate", url=address)
        self.wait(f"location.href === {json.dumps(address)} && document.readyState === 'complete'")
        self.requests = [each for each in self.requests if each.startswith(("http", "file"))]
        self.requests = [each for each in self.requests if each.partition("#")[0] != address]

    def value(self, expression: str) -> Any:
        """What an expression is in the page; a promise is waited for."""
        answer = self.send(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in answer, json.dumps(answer["exceptionDetails"])[:2000]
        return answer["result"].get("value")

    def wait(self, expression: str) -> Any:
        """Waits for an expression to be true."""
        until = time.monotonic() + PATIENCE
        while not (found := self.value(expression)):
            assert time.monotonic() < until, f"never came true: {expression}"
            time.sleep(0.02)
        return found

    def drag(self, points: Sequence[tuple[float, float]]) -> None:
        """Presses the pointer at the first point of the window, moves it along, and lifts it."""
        kinds = ["mousePressed", *["mouseMoved"] * (len(points) - 1), "mouseReleased"]
        for kind, (x, y) in zip(kinds, [*points, points[-1]], strict=True):
            button = {"button": "left", "buttons": int(kind != "mouseReleased"), "clickCount": 1}
            self.send("Input.dispatchMouseEvent", type=kind, x=x, y=y, **button)

    def press(self, key: str, **more: Any) -> None:
        """Presses a key and lets it go."""
        text = {" ": " ", "Enter": "\r"}.get(key)
        code = {" ": "Space"}.get(key, key)
        down = {"key": key, "code": code} | ({"text": text} if text else {}) | more
        codes = {"Tab": 9, "Enter": 13, " ": 32, "ArrowLeft": 37, "ArrowUp": 38}
        down["windowsVirtualKeyCode"] = (codes | {"ArrowRight": 39, "ArrowDown": 40}).get(key, 0)
        self.send("Input.dispatchKeyEvent", type="keyDown", **down)
        down.pop("text", None)
        self.send("Input.dispatchKeyEvent", type="keyUp", **down)

    def picture(self, path: Path) -> None:
        """The whole page as a PNG file."""
        shot = self.send("Page.captureScreenshot", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(shot["data"]))


@contextmanager
def browser() -> Iterator[Browser]:
    """A Chromium of its own, ended at the end."""
    assert CHROMIUM is not None
    here, there = os.pipe(), os.pipe()
    with TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        options = (
            "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
            "--remote-debugging-pipe", "--no-first-run", f"--user-data-dir={profile}",
            "--hide-scrollbars", "about:blank",
        )  # fmt: skip
        # It reads from file descriptor 3 and writes to 4.
        started = subprocess.Popen(
            ["bash", "-c", f'exec "$0" "$@" 3<&{there[0]} 4>&{here[1]}', CHROMIUM, *options],
            pass_fds=(there[0], here[1]),
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        os.close(there[0])
        os.close(here[1])
        try:
            yield Browser(here[0], there[1])
        finally:
            os.killpg(started.pid, signal.SIGKILL)
            started.wait()
            os.close(here[0])
            os.close(there[1])


def accessible(tab: Browser) -> list[str]:
    """The serious faults that axe-core finds in the page."""
    tab.value(f"{AXE.read_text(encoding='utf-8')};0")
    found = tab.value(
        "axe.run().then(({ passes, violations }) => ({ passes: passes.length,"
        " violations: violations.map(({ id, impact, nodes }) =>"
        " [impact, id, nodes[0].html.slice(0, 200)]) }))"
    )
    assert found["passes"] > 5
    return [str(each) for each in found["violations"] if each[0] in ("serious", "critical")]
