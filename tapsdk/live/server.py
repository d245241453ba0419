"""The page of a live session: its files, and a WebSocket that brings frames and takes orders. Needs aiohttp."""

from __future__ import annotations

import asyncio
import errno
import logging
import threading
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

from aiohttp import WSMsgType, web

from tapsdk.errors import TapsdkError
from tapsdk.live.guard import Guard
from tapsdk.live.orders import read_order
from tapsdk.live.picture import header, jpeg, message, points_of
from tapsdk.live.session import Moment, Session
from tapsdk.tracks import Tracks

logger = logging.getLogger(__name__)

PAGE = Path(__file__).with_name("page")
FILES = {"": "index.html", **{name: name for name in ("live.js", "draw.js", "stage.js", "look.css")}}
"""What is served, by its path under the root."""
KINDS = {".html": "text/html", ".js": "text/javascript", ".css": "text/css"}
HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' blob: data:; connect-src 'self' ws: wss:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}
USUAL_PORT = 8750
MOST_ORDER_BYTES = 1 << 20
MOST_CLIENTS = 16
AHEAD = 2
"""Frames that a page is sent before it has shown them: more would only wait on the way."""
PATIENCE = 3.0
"""Seconds after which a page that shows nothing is sent another frame all the same."""
HEARTBEAT = 15.0
TRAIL = 24
"""Frames whose points a page gets that opens, so that it shows the trails of those that were there before."""

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Client:
    """A page. What it is sent is the newest there is whenever it is ready for more."""

    def __init__(self, socket: web.WebSocketResponse) -> None:
        self.socket = socket
        self.offered: int | None = None
        """The number of the newest frame that it was offered."""
        self._next: bytes | None = None
        self._news: str | None = None
        self._under_way = 0
        self._ready = asyncio.Event()

    def offer(self, number: int, message: bytes) -> None:
        """A frame, in the place of one that was not sent yet."""
        self.offered, self._next, self._news = number, message, None
        self._ready.set()

    def tell(self, news: str) -> None:
        """News without a picture, of the frame that was offered last."""
        self._news = news
        self._ready.set()

    def has_shown(self) -> None:
        self._under_way = max(0, self._under_way - 1)
        self._ready.set()

    async def send_all(self) -> None:
        """Sends until the page goes."""
        while not self.socket.closed:
            if self._next is not None and self._under_way < AHEAD:
                message, self._next = self._next, None
                self._under_way += 1
                await self.socket.send_bytes(message)
            elif self._next is None and self._news is not None:
                news, self._news = self._news, None
                await self.socket.send_str(news)
            else:
                await self._wait()

    async def _wait(self) -> None:
        self._ready.clear()
        try:
            await asyncio.wait_for(self._ready.wait(), PATIENCE)
        except asyncio.TimeoutError:
            self._under_way = 0


class LiveServer:
    """Serves a session, in a thread of its own, from `start` to `stop`.

    guard: of the address that it is bound to. port: None for the usual one, or any that is free where that is taken.
    """

    def __init__(self, session: Session, guard: Guard, port: int | None = None) -> None:
        self._session, self._guard, self._port = session, guard, port
        self._clients: set[Client] = set()
        self._loop = asyncio.new_event_loop()
        self._newest: Moment | None = None
        self._past: deque[Tracks] = deque(maxlen=TRAIL)
        self._arrived = asyncio.Event()
        self._thread = threading.Thread(target=self._serve, name="live server", daemon=True)
        self._bound = threading.Event()
        self._failed: OSError | None = None

    def start(self) -> str:
        """Returns the address of the page. Raises TapsdkError where the port is not to be had."""
        self._session.listeners.append(self._listen)
        if self._session.moment is not None:
            self._note(self._session.moment)
        self._thread.start()
        self._bound.wait()
        if self._failed is not None:
            self._thread.join()
            raise TapsdkError(
                f"could not serve on {self._guard.host}, port {self._port}: {self._failed.strerror or self._failed}; "
                "choose another --port, or 0 for any"
            ) from self._failed
        return self._guard.url

    def stop(self) -> None:
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()

    def _listen(self, moment: Moment) -> None:
        """In the session's thread."""
        with suppress(RuntimeError):  # after the loop has ended
            self._loop.call_soon_threadsafe(self._note, moment)

    def _note(self, moment: Moment) -> None:
        self._newest = moment
        if moment.fresh:
            self._past.append(moment.tracks)
        self._arrived.set()

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        runner = web.AppRunner(self.app(), access_log=None, shutdown_timeout=1.0)
        try:
            self._loop.run_until_complete(self._bind(runner))
        except OSError as error:
            self._failed = error
        self._bound.set()
        if self._failed is None:
            broadcast = self._loop.create_task(self._broadcast())
            self._loop.run_forever()
            broadcast.cancel()
            with suppress(asyncio.CancelledError):
                self._loop.run_until_complete(broadcast)
        self._loop.run_until_complete(runner.cleanup())
        self._loop.run_until_complete(self._loop.shutdown_default_executor())
        self._loop.close()

    async def _bind(self, runner: web.AppRunner) -> None:
        await runner.setup()
        wanted = [USUAL_PORT, 0] if self._port is None else [self._port]
        for port in wanted:
            site = web.TCPSite(runner, self._guard.host, port)
            try:
                await site.start()
                break
            except OSError as error:
                if error.errno != errno.EADDRINUSE or port == wanted[-1]:
                    raise
        self._guard.port = runner.addresses[0][1]

    def app(self) -> web.Application:
        """What answers requests."""
        app = web.Application(middlewares=[self._guarded])
        app.router.add_get("/{path:.*}", self._answer)
        app.on_shutdown.append(self._close_all)
        return app

    @web.middleware
    async def _guarded(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Refuses whom the guard does not know; every answer has the headers."""
        try:
            if not self._guard.is_ours(request.headers.get("Host")):
                raise web.HTTPMisdirectedRequest(text="this page is for this machine alone\n")
            if self._guard.inner(request.path) is None:
                raise web.HTTPForbidden(text="the address lacks its token: open the one that tapsdk live printed\n")
            response = await handler(request)
        except web.HTTPException as refusal:
            refusal.headers.update(HEADERS)
            raise
        if not response.prepared:
            response.headers.update(HEADERS)
        return response

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        path = self._guard.inner(request.path)
        if path == "" and request.path != self._guard.root:
            raise web.HTTPFound(self._guard.root)  # what the page names lies beside it
        if path == "socket":
            return await self._talk(request)
        name = FILES.get(path or "")
        if name is None:
            raise web.HTTPNotFound(text="there is nothing here\n")
        kind = KINDS[Path(name).suffix]
        return web.Response(body=(PAGE / name).read_bytes(), content_type=kind, charset="utf-8")

    async def _talk(self, request: web.Request) -> web.StreamResponse:
        if not self._guard.is_same_origin(request.headers.get("Origin"), request.headers.get("Host")):
            raise web.HTTPForbidden(text="only this page may open its socket\n")
        if len(self._clients) >= MOST_CLIENTS:
            raise web.HTTPServiceUnavailable(text=f"{MOST_CLIENTS} pages are the most at once\n")
        socket = web.WebSocketResponse(heartbeat=HEARTBEAT, max_msg_size=MOST_ORDER_BYTES, compress=False, timeout=1.0)
        await socket.prepare(request)
        client = Client(socket)
        self._clients.add(client)
        await socket.send_json({"past": [points_of(tracks) for tracks in self._past]})
        self._arrived.set()
        sending = asyncio.create_task(client.send_all())
        try:
            async for told in socket:
                if told.type != WSMsgType.TEXT:
                    break
                self._obey(client, told.data)
        finally:
            self._clients.discard(client)
            sending.cancel()
            with suppress(asyncio.CancelledError, ConnectionError):
                await sending
        return socket

    def _obey(self, client: Client, text: str) -> None:
        if text == "shown":
            client.has_shown()
            return
        try:
            self._session.send(read_order(text))
        except ValueError as error:
            logger.warning("a page asked for something that cannot be: %s", error)

    async def _broadcast(self) -> None:
        """Sends what is newest to all pages. What comes meanwhile takes the place of what had not been sent."""
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            if self._newest is not None and self._clients:
                await self._send(self._newest)

    async def _send(self, moment: Moment) -> None:
        """To each page, and no picture twice to one."""
        behind = [client for client in self._clients if client.offered != moment.number]
        for client in self._clients.difference(behind):
            client.tell(header(moment))
        if behind:
            whole = message(moment, await asyncio.to_thread(jpeg, moment.picture))
            for client in behind:
                client.offer(moment.number, whole)

    async def _close_all(self, app: web.Application) -> None:
        for client in list(self._clients):
            await client.socket.close(code=1001, message=b"the session has ended")
