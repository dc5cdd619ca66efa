"""A headless Chromium for tests, over a pipe that speaks the Chrome DevTools protocol: it needs no package of its own.

https://chromedevtools.github.io/devtools-protocol/
"""

import base64
import fcntl
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from select import select
from types import TracebackType
from typing import Any, Self

NAMES = ("google-chrome", "chromium", "chromium-browser")
"""In this order: on GitHub's Ubuntu runners `chromium` is a snapshot build that cannot be sandboxed as here."""
PATIENCE_SECONDS = 20.0
# Chromium reads commands from descriptor 3 and writes answers to 4; Python itself puts the pipes there, and becomes it.
_BECOME = (
    "import os, sys; os.dup2(int(sys.argv[1]), 3); os.dup2(int(sys.argv[2]), 4); os.execv(sys.argv[3], sys.argv[3:])"
)
_OPTIONS = (
    "--headless=new",
    "--remote-debugging-pipe",
    "--no-first-run",
    "--no-default-browser-check",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-dev-shm-usage",
    "--disable-gpu",
    "--disable-sync",
    "--hide-scrollbars",
    "--password-store=basic",
)


class BrowserError(RuntimeError):
    """The browser refused a command; the message has its answer."""


def find_chromium() -> str | None:
    """Return the path of a Chromium, or None where there is none."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


class Browser:
    """A Chromium with its own profile, which the context deletes."""

    def __init__(self, path: str) -> None:
        self._profile = tempfile.TemporaryDirectory(prefix="chromium-", ignore_cleanup_errors=True)
        its_input, self._commands = os.pipe()
        self._answers, its_output = os.pipe()
        high = [fcntl.fcntl(end, fcntl.F_DUPFD, 10) for end in (its_input, its_output)]
        sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []  # Chromium refuses to sandbox root
        profile = f"--user-data-dir={self._profile.name}"
        self._process = subprocess.Popen(
            [sys.executable, "-c", _BECOME, *map(str, high), path, *_OPTIONS, *sandbox, profile, "about:blank"],
            pass_fds=high,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for end in (its_input, its_output, *high):
            os.close(end)
        self._last_id = 0
        self._unread = b""
        self.pages: dict[str, Page] = {}

    def command(self, method: str, session: str | None = None, **parameters: Any) -> dict[str, Any]:
        """Send a command and return its answer; events that arrive meanwhile go to the pages."""
        self._last_id += 1
        wanted = self._last_id
        message = {"id": wanted, "method": method, "params": parameters, **({"sessionId": session} if session else {})}
        unsent = json.dumps(message).encode() + b"\0"
        while unsent:
            unsent = unsent[os.write(self._commands, unsent) :]
        deadline = time.monotonic() + PATIENCE_SECONDS
        while (received := self._receive(deadline)) is not None:
            if received.get("id") == wanted:
                if "error" in received:
                    raise BrowserError(f"{method}: {received['error']['message']}")
                result: dict[str, Any] = received["result"]
                return result
        raise BrowserError(f"{method}: no answer within {PATIENCE_SECONDS:.0f} s")

    def _receive(self, deadline: float) -> dict[str, Any] | None:
        while b"\0" not in self._unread:
            if not select([self._answers], [], [], max(0, deadline - time.monotonic()))[0]:
                return None
            chunk = os.read(self._answers, 1 << 20)
            if not chunk:
                raise BrowserError("Chromium has ended")
            self._unread += chunk
        text, _, self._unread = self._unread.partition(b"\0")
        message: dict[str, Any] = json.loads(text)
        if (page := self.pages.get(message.get("sessionId", ""))) and "method" in message:
            page.notice(message["method"], message["params"])
        return message

    def open(self, url: str = "about:blank", **view: Any) -> "Page":
        """Open a page of its own; `view` as for `Page.emulate`."""
        target = self.command("Target.createTarget", url="about:blank")["targetId"]
        session = self.command("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        page = self.pages[session] = Page(self, session, target)
        for domain in ("Page", "Runtime", "Network", "Log"):
            page.command(f"{domain}.enable")
        page.emulate(**view)
        if url != "about:blank":
            page.go(url)
        return page

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._commands)
        os.close(self._answers)
        self._profile.cleanup()


class Page:
    """A tab.

    Attributes:
        requested: the address of every request that it made.
        complaints: what it wrote to the console as a warning or an error, uncaught exceptions, and refused content.
    """

    def __init__(self, browser: Browser, session: str, target: str) -> None:
        self._browser = browser
        self._session = session
        self._target = target
        self.requested: list[str] = []
        self.complaints: list[str] = []

    def command(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send a command to this tab."""
        return self._browser.command(method, self._session, **parameters)

    def notice(self, method: str, parameters: Any) -> None:
        """Record an event of this tab."""
        match method:
            case "Network.requestWillBeSent":
                self.requested.append(parameters["request"]["url"])
            case "Runtime.exceptionThrown":
                thrown = parameters["exceptionDetails"]
                self.complaints.append(thrown.get("exception", {}).get("description") or thrown["text"])
            case "Runtime.consoleAPICalled" if parameters["type"] in ("error", "warning", "assert"):
                self.complaints.append(str([said.get("value") for said in parameters["args"]]))
            case "Log.entryAdded" if parameters["entry"]["level"] in ("error", "warning"):
                self.complaints.append(parameters["entry"]["text"])
            case "Page.javascriptDialogOpening":
                self.complaints.append(f"dialog: {parameters['message']}")

    def emulate(self, *, width: int = 1280, height: int = 900, scheme: str = "light") -> None:
        """Emulate a screen of this size with a light or dark scheme, and reduced motion, so that colours are stable."""
        self.command(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        preferences = {"prefers-color-scheme": scheme, "prefers-reduced-motion": "reduce"}
        self.command(
            "Emulation.setEmulatedMedia",
            features=[{"name": name, "value": value} for name, value in preferences.items()],
        )

    def go(self, url: str) -> None:
        """Go to an address, and wait until it is loaded."""
        failed = self.command("Page.navigate", url=url).get("errorText")
        if failed:
            raise BrowserError(f"{url}: {failed}")
        self.wait_for(f"document.readyState === 'complete' && location.href.startsWith({json.dumps(url)})")

    def run(self, script: str) -> Any:
        """Evaluate JavaScript and return its value."""
        answer = self.command("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise BrowserError(f"{script}: {answer['exceptionDetails']['exception'].get('description')}")
        return answer["result"].get("value")

    def wait_for(self, script: str, seconds: float = 8.0) -> None:
        """Wait until JavaScript evaluates to a truthy value: an element, a number other than 0, a text."""
        deadline = time.monotonic() + seconds
        while not self.run(f"Boolean({script})"):
            if time.monotonic() > deadline:
                raise BrowserError(f"waited {seconds:.0f} s in vain for {script}")
            time.sleep(0.03)

    def press(self, key: str) -> None:
        """Press and release a key; it moves the focus and activates the focused element."""
        text = {"Enter": "\r", "Space": " "}.get(key, "")
        code = {"Enter": 13, "Tab": 9, "Space": 32}[key]
        name = " " if key == "Space" else key
        for kind in ("keyDown", "keyUp"):
            more = {"text": text} if text and kind == "keyDown" else {}
            self.command("Input.dispatchKeyEvent", type=kind, key=name, code=key, windowsVirtualKeyCode=code, **more)

    def screenshot(self, path: Path, *, whole: bool = False) -> None:
        """Save a screenshot of the visible part, or of the whole page."""
        image = self.command("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(base64.b64decode(image["data"]))

    def close(self) -> None:
        """Close the tab."""
        self._browser.command("Target.closeTarget", targetId=self._target)
