"""Chromium without a window, spoken to by its own protocol (Chrome DevTools) over a pair of pipes."""

import base64
import contextlib
import json
import os
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome")
PATIENCE = 30  # seconds for one answer
TURN = "import os, sys; d, u, *w = sys.argv[1:]; os.dup2(int(d), 3); os.dup2(int(u), 4); os.execv(w[0], w)"


def find_browser() -> str:
    """The browser's command; AssertionError with what to type where there is none."""
    found = next((path for name in NAMES if (path := shutil.which(name))), None)
    assert found, f"none of {', '.join(NAMES)} is installed; run: sh tests/install_browser.sh"
    return found


class Browser:
    """One page in one browser; `events` holds what the browser told without being asked."""

    def __init__(self, profile: Path) -> None:
        down, self._write = os.pipe()  # the browser reads commands from its descriptor 3 and writes answers to its 4
        self._read, up = os.pipe()
        words = [find_browser(), "--headless", "--remote-debugging-pipe", "--no-first-run", "--disable-gpu"]
        words += ["--hide-scrollbars", "--disable-dev-shm-usage", "--disable-background-networking"]
        words += [f"--user-data-dir={profile}", *(["--no-sandbox"] if os.geteuid() == 0 else []), "about:blank"]
        with (profile / "log").open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-c", TURN, str(down), str(up), *words],
                pass_fds=(down, up), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
        os.close(down)
        os.close(up)
        self._log, self._rest, self._number, self._session = profile / "log", b"", 0, ""
        self.events: list[dict[str, Any]] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Network", "Runtime"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Give a command and return its result."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._receive()
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                return dict(answer["result"])
            self.events.append(answer)

    def open(self, path: Path, width: int, *, dark: bool = False) -> None:
        """Show a file `width` pixels wide and wait until it is loaded."""
        theme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[theme])
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=width < 600
        )
        self.events.clear()
        self.call("Page.navigate", url=path.as_uri())
        while not any(event["method"] == "Page.loadEventFired" for event in self.events):
            self.events.append(self._receive())

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression on the page."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def click(self, x: float, y: float) -> None:
        """Press and release the left mouse button at a place of the window."""
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def press(self, key: str, code: int, text: str = "") -> None:
        """Press and release a key."""
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, windowsVirtualKeyCode=code, text=text)

    def screenshot(self, path: Path, *, whole: bool = True) -> None:
        """Save a picture of the page, or of the window alone."""
        shown = self.call("Page.captureScreenshot", captureBeyondViewport=whole)["data"]
        path.write_bytes(base64.b64decode(shown))

    def close(self) -> None:
        """End the browser."""
        self._session = ""
        with contextlib.suppress(OSError, AssertionError):
            self.call("Browser.close")
        os.close(self._write)
        os.close(self._read)
        try:
            self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _receive(self) -> dict[str, Any]:
        until = time.monotonic() + PATIENCE
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self._read], [], [], max(until - time.monotonic(), 0))
            part = os.read(self._read, 1 << 16) if ready else b""
            assert part, f"the browser says nothing any more: {self._log.read_text(errors='replace')[-2000:]}"
            self._rest += part
        message, _, self._rest = self._rest.partition(b"\0")
        return dict(json.loads(message))


@contextlib.contextmanager
def browsing(profile: Path) -> Iterator[Browser]:
    """A browser inside the block, its files under `profile`."""
    browser = Browser(profile)
    try:
        yield browser
    finally:
        browser.close()
