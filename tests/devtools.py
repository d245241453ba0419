"""A page in a headless Chromium, used as a person would: by clicks and keys, over its DevTools protocol."""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from tests.examples.browser import chromium

SECONDS = 60.0
MODIFIERS = {"Alt": 1, "Control": 2, "Meta": 4, "Shift": 8}


class Page:
    """A page that is open. Places are pixels from the corner of its window."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket, self._numbers = socket, itertools.count()

    async def ask(self, method: str, **params: Any) -> Any:
        """What the browser answers to a method of the protocol."""
        number = next(self._numbers)
        await self._socket.send_json({"id": number, "method": method, "params": params})
        while True:
            told = await self._socket.receive_json(timeout=SECONDS)
            if told.get("id") == number:
                assert "error" not in told, told["error"]
                return told["result"]

    async def value(self, script: str) -> Any:
        """Of an expression in the page; a promise is waited for."""
        found = await self.ask("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    async def text(self, id: str) -> str:
        return await self.value(f"document.getElementById({json.dumps(id)}).textContent")

    async def until(self, script: str) -> Any:
        """The value of an expression, once it is true."""
        deadline = asyncio.get_running_loop().time() + SECONDS
        while not (found := await self.value(script)):
            assert asyncio.get_running_loop().time() < deadline, f"never came true: {script}"
            await asyncio.sleep(0.05)
        return found

    async def open(self, address: str) -> None:
        await self.ask("Page.enable")
        await self.ask("Page.navigate", url=address)
        await self.until(
            f"document.readyState === 'complete' && location.href !== 'about:blank' && {self._is(address)}"
        )

    @staticmethod
    def _is(address: str) -> str:
        return f"location.href.startsWith({json.dumps(address.split('#')[0])})"

    async def reload(self) -> None:
        await self.value("window.isOld = true")
        await self.ask("Page.reload")
        await self.until("document.readyState === 'complete' && !window.isOld")

    async def press(self, kind: str, x: float, y: float, keys: Sequence[str] = (), held: bool = True) -> None:
        """kind: mousePressed, mouseMoved or mouseReleased."""
        modifiers = sum(MODIFIERS[key] for key in keys)
        button = {"button": "left", "buttons": 1 if kind != "mouseReleased" else 0, "clickCount": 1} if held else {}
        await self.ask("Input.dispatchMouseEvent", type=kind, x=x, y=y, modifiers=modifiers, **button)

    async def click(self, x: float, y: float, *keys: str) -> None:
        await self.press("mousePressed", x, y, keys)
        await self.press("mouseReleased", x, y, keys)

    async def drag(self, start: tuple[float, float], end: tuple[float, float], *keys: str) -> None:
        await self.press("mousePressed", *start, keys)
        middle = ((start[0] + end[0]) / 2, (start[1] + end[1]) / 2)
        for place in (middle, end):
            await self.press("mouseMoved", *place, keys)
        await self.press("mouseReleased", *end, keys)

    async def tap(self, x: float, y: float, seconds: float = 0.0) -> None:
        """With a finger."""
        await self.ask("Input.dispatchTouchEvent", type="touchStart", touchPoints=[{"x": x, "y": y}])
        await asyncio.sleep(seconds)
        await self.ask("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])

    async def type(self, key: str, *modifiers: str) -> None:
        text = {"text": "\r"} if key == "Enter" else {"text": key} if len(key) == 1 and not modifiers else {}
        held = sum(MODIFIERS[each] for each in modifiers)
        for kind in ("keyDown", "keyUp"):
            await self.ask(
                "Input.dispatchKeyEvent", type=kind, key=key, modifiers=held, **(text if kind == "keyDown" else {})
            )

    async def resize(
        self, width: int, height: int, *, scale: float = 1, dark: bool = True, touch: bool = False
    ) -> None:
        await self.ask(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=scale, mobile=touch
        )
        await self.ask("Emulation.setTouchEmulationEnabled", enabled=touch)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        await self.ask("Emulation.setEmulatedMedia", features=[scheme])

    async def picture(self, path: Path) -> None:
        found = await self.ask("Page.captureScreenshot", format="png")
        path.write_bytes(base64.b64decode(found["data"]))


@asynccontextmanager
async def pages(count: int = 1, flags: Sequence[str] = ()) -> AsyncIterator[list[Page]]:
    """So many pages of one new browser, empty."""
    with chromium("about:blank", ["--remote-debugging-port=0", *flags]) as profile:
        port = await _port(profile / "DevToolsActivePort")
        async with aiohttp.ClientSession() as session:
            targets = [await _new_target(session, port) for _ in range(count)]
            sockets = [await session.ws_connect(target, max_msg_size=0) for target in targets]
            try:
                yield [Page(socket) for socket in sockets]
            finally:
                for socket in sockets:
                    await socket.close()


async def _new_target(session: aiohttp.ClientSession, port: int) -> str:
    async with session.put(f"http://127.0.0.1:{port}/json/new?about:blank") as answer:
        return str((await answer.json(content_type=None))["webSocketDebuggerUrl"])


async def _port(file: Path) -> int:
    """That the browser chose, as it writes it down."""
    for _ in range(600):
        lines = file.read_text().split() if file.exists() else []
        if len(lines) == 2:
            return int(lines[0])
        await asyncio.sleep(0.1)
    raise AssertionError("Chromium did not start")
