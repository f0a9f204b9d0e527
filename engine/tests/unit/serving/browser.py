"""A headless Chromium, driven by its DevTools protocol: no driver program, only the browser of the system."""

import base64
import importlib.util
import json
import os
import shutil
import subprocess
import tempfile
import urllib.request
from pathlib import Path
from typing import Any, Self

import pytest
from websockets.sync.client import connect

from sluice.core.processes import wait_until

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
KEYS = {"Enter": (13, "\r"), "Escape": (27, ""), "Tab": (9, ""), " ": (32, " ")}


def find_browser() -> str | None:
    """The program, SLUICE_CHROMIUM first; None when there is none."""
    names = [os.environ["SLUICE_CHROMIUM"]] if os.environ.get("SLUICE_CHROMIUM") else NAMES
    return next((found for name in names if (found := shutil.which(name))), None)


class Browser:
    """One page of a fresh profile. `problems`: what the console and the security policy complained about."""

    def __init__(self, program: str) -> None:
        self._profile = Path(tempfile.mkdtemp(prefix="sluice-browser-"))
        words = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]
        words += ["--disable-background-networking", "--disable-component-update", "--no-default-browser-check"]
        words += ["--no-proxy-server", "--hide-scrollbars", "--remote-debugging-port=0", "--force-color-profile=srgb"]
        argv = [program, *words, f"--user-data-dir={self._profile}", "about:blank"]
        self._process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        place = self._profile / "DevToolsActivePort"
        started = wait_until(lambda: place.exists() and "\n" in place.read_text(), seconds=180)
        assert started, "the browser does not start"
        port = place.read_text().split()[0]
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list", timeout=30) as listed:
            target = next(one for one in json.load(listed) if one["type"] == "page")
        self._socket = connect(target["webSocketDebuggerUrl"], max_size=None, proxy=None)
        self._number = 0
        self.problems: list[str] = []
        self.asked: list[str] = []
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """One command and its result; events on the way are noted."""
        self._number += 1
        self._socket.send(json.dumps({"id": self._number, "method": method, "params": parameters}))
        while True:
            message = json.loads(self._socket.recv(timeout=300))
            if message.get("id") == self._number:
                assert "error" not in message, message
                result: dict[str, Any] = message["result"]
                return result
            self._note(message["method"], message["params"])

    def _note(self, method: str, event: dict[str, Any]) -> None:
        if method == "Runtime.exceptionThrown":
            self.problems.append(event["exceptionDetails"].get("exception", {}).get("description", "exception"))
        elif method == "Log.entryAdded" and event["entry"]["source"] != "network":
            self.problems.append(event["entry"]["text"])
        elif method == "Network.requestWillBeSent":
            self.asked.append(event["request"]["url"])

    def open(self, url: str) -> None:
        self.call("Page.navigate", url=url)
        self.wait("document.readyState === 'complete'")

    def js(self, expression: str) -> Any:
        """The value of an expression; an exception in it fails the test."""
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def wait(self, expression: str, seconds: float = 60) -> None:
        assert wait_until(lambda: bool(self.js(expression)), seconds=seconds, every=0.05), expression

    def type(self, text: str) -> None:
        """Into whatever has the focus."""
        self.call("Input.insertText", text=text)

    def press(self, key: str) -> None:
        code, text = KEYS[key]
        for kind in ("keyDown", "keyUp"):
            more = {"text": text} if text and kind == "keyDown" else {}
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code, **more)

    def look(self, *, width: int, height: int, dark: bool = False) -> None:
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=2, mobile=False)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])

    def shoot(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot")["data"]))

    def accessibility_faults(self) -> list[str]:
        """What axe-core finds; the library reads the page and changes nothing."""
        found = importlib.util.find_spec("axe_playwright_python")
        if found is None or found.origin is None:
            pytest.skip("axe-playwright-python is not installed: make setup")
        self.js(Path(found.origin).with_name("axe.min.js").read_text() + ";true")
        result = self.js(
            "axe.run().then(done => [done.passes.length, ...done.violations"
            ".map(one => one.id + ': ' + one.nodes.map(node => node.target).join(' '))])"
        )
        assert result[0] > 10  # it has looked
        return list(result[1:])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()
        self._process.terminate()
        try:
            self._process.wait(60)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        shutil.rmtree(self._profile, ignore_errors=True)
