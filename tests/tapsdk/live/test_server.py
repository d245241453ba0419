"""The page's server: who gets in, what pages are sent, and what they may ask for."""

from __future__ import annotations

import asyncio
import json
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from io import BytesIO

import av
import numpy as np
import pytest

import tapsdk
from tapsdk.errors import TapsdkError
from tapsdk.live.guard import Guard
from tapsdk.tracker import Tracker
from tests.support import EXACT, import_or_skip, random_points
from tests.tapsdk.live.scenes import SECONDS, file_of, watched

aiohttp = import_or_skip("aiohttp", "live")

from tapsdk.live.server import FILES, LiveServer  # noqa: E402  # it needs aiohttp


@pytest.fixture(scope="module")
def loaded(bundled):
    return tapsdk.load(bundled, backend="onnxruntime:fused", threads=1)


class Browser:
    """A page, without its pictures' being looked at."""

    def __init__(self, socket):
        self.socket = socket
        self.past, self.frames = None, 0

    async def next(self):
        """What it is told next: the header, with the picture's bytes where there is one. It shows it at once."""
        told = await self.socket.receive(timeout=SECONDS)
        if told.type == aiohttp.WSMsgType.TEXT:
            news = json.loads(told.data)
            if "past" in news:
                self.past = news["past"]
                return await self.next()
            return news
        assert told.type == aiohttp.WSMsgType.BINARY, told
        await self.socket.send_str("shown")
        self.frames += 1
        (length,) = struct.unpack_from("<I", told.data)
        return json.loads(told.data[4 : 4 + length]) | {"jpeg": told.data[4 + length :]}

    async def until(self, holds):
        while not holds(told := await self.next()):
            pass
        return told

    async def ask(self, do, **more):
        await self.socket.send_str(json.dumps({"do": do, **more}))


class Site:
    """A server, and what comes in by its door."""

    def __init__(self, url, http):
        self.url, self.http = url, http

    async def get(self, path="", **options):
        async with self.http.get(self.url + path, **options) as answer:
            return answer.status, answer.headers, await answer.read()

    @asynccontextmanager
    async def browser(self, **options) -> AsyncIterator[Browser]:
        async with self.http.ws_connect(self.url + "socket", max_msg_size=0, **options) as socket:
            yield Browser(socket)


@pytest.fixture
def use(loaded, video, tmp_path):
    """Runs a coroutine function on a site for the video, which stands at its first frame."""

    def run(scenario, host="127.0.0.1", playing=False):
        async def on_site(url):
            async with aiohttp.ClientSession() as http:
                await asyncio.wait_for(scenario(Site(url, http)), SECONDS)

        with watched(file_of(video, fps=25), loaded, tmp_path, playing=playing) as session:
            server = LiveServer(session.session, Guard(host), 0)
            try:
                asyncio.run(on_site(server.start()))
            finally:
                server.stop()
            assert session.session.error is None

    return run


# Who gets in


def test_every_file_of_the_page_is_there_and_says_what_may_run(use):
    async def scenario(site):
        for path in FILES:
            status, headers, body = await site.get(path)
            assert (status, len(body) > 100) == (200, True)
            assert "default-src 'self'" in headers["Content-Security-Policy"]
            assert headers["X-Content-Type-Options"] == "nosniff"
        assert (await site.get("index.html"))[0] == 404
        assert (await site.get("..%2Fserver.py"))[0] == 404
        async with site.http.post(site.url) as answer:
            assert (answer.status, answer.headers["Referrer-Policy"]) == (405, "no-referrer")

    use(scenario)


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1"])
def test_another_name_of_this_machine_gets_nothing(use, host):
    """As after DNS rebinding."""

    async def scenario(site):
        for path in ("", "live.js", "socket"):
            assert (await site.get(path, headers={"Host": host}))[0] == 421
        with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
            async with site.browser(headers={"Host": host}):
                pass
        assert caught.value.status == 421

    use(scenario)


@pytest.mark.parametrize("origin", ["http://evil.example", "http://localhost:1", "null"])
def test_a_page_of_somebody_else_gets_no_socket(use, origin):
    async def scenario(site):
        with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
            async with site.browser(headers={"Origin": origin}):
                pass
        assert caught.value.status == 403
        async with site.browser(headers={"Origin": site.url.rstrip("/")}) as page:
            assert (await page.next())["frame"] == 0

    use(scenario)


def test_without_the_token_there_is_no_page_and_no_socket(use):
    async def scenario(site):
        port = site.url.split(":")[2].split("/")[0]
        site.url = site.url.replace("0.0.0.0", "127.0.0.1")
        assert (await site.get())[0] == 200
        assert (await site.get("live.js"))[0] == 200
        async with site.browser() as page:
            assert (await page.next())["frame"] == 0
        async with site.http.get(site.url.rstrip("/")) as answer:  # what the page names lies under the token
            assert str(answer.url) == site.url
        for wrong in ("", "live.js", "socket", "0" * 32, f"{'0' * 32}/live.js", "?token=x"):
            outside = Site(f"http://127.0.0.1:{port}/", site.http)
            status, headers, body = await outside.get(wrong)
            assert (status, b"script" in body) == (403, False)
            assert "default-src 'self'" in headers["Content-Security-Policy"]
        with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
            async with outside.browser():
                pass
        assert caught.value.status == 403

    use(scenario, host="0.0.0.0")


def test_a_port_that_is_taken_is_said(loaded, video, tmp_path):
    with watched(file_of(video), loaded, tmp_path) as session:
        first = LiveServer(session.session, Guard("127.0.0.1"), 0)
        port = int(first.start().split(":")[2].strip("/"))
        with pytest.raises(TapsdkError, match=rf"could not serve on 127.0.0.1, port {port}: .*choose another --port"):
            LiveServer(session.session, Guard("127.0.0.1"), port).start()
        first.stop()


# What pages see


def test_a_point_that_is_added_follows_as_the_tracker_says(use, loaded, video):
    async def scenario(site):
        tracker = Tracker(loaded)
        async with site.browser() as page:
            first = await page.next()
            assert (first["frame"], first["ids"], first["status"]["state"]) == (0, [], "paused")
            await page.ask("add", points=[[20.5, 30]], frame=0)
            told = await page.next()
            assert "jpeg" not in told  # it is the picture that is on show
            assert told["xy"] == [[20.5, 30]]
            tracker.add([[20.5, 30]])
            tracker.step(video[0])
            for number, frame in enumerate(video[1:], 1):
                await page.ask("step")
                told = await page.until(lambda told, number=number: told["frame"] == number)
                expected = tracker.step(frame)
                np.testing.assert_allclose(told["xy"], expected.xy[:, 0], atol=0.005 + EXACT)
                np.testing.assert_allclose(told["confidence"], expected.confidence[:, 0], atol=0.001)
                assert told["visible"] == expected.visible[:, 0].tolist()

    use(scenario)


def test_the_picture_is_that_of_the_frame(use, video):
    async def scenario(site):
        async with site.browser() as page:
            told = await page.next()
        with av.open(BytesIO(told["jpeg"])) as container:
            (frame,) = container.decode(video=0)
        shown = frame.to_ndarray(format="gray").astype(int)
        grey = video[0] @ [0.299, 0.587, 0.114]
        assert shown.shape == (48, 80)
        assert np.abs(shown - grey).mean() < 6

    use(scenario)


def test_two_pages_see_the_same(use, video):
    async def scenario(site):
        async with site.browser() as one, site.browser() as other:
            for page in (one, other):
                await page.next()
            await one.ask("add", points=random_points(2, video).tolist())
            await other.ask("add", points=[[5, 6]])
            for number in range(1, 4):
                await other.ask("step")
                seen = [await page.until(lambda t, n=number: t["frame"] == n) for page in (one, other)]
                assert seen[0] == seen[1]
            assert seen[0]["ids"] == [0, 1, 2]
            await other.ask("remove", ids=[1])
            for page in (one, other):
                await page.until(lambda told: told["ids"] == [0, 2])

    use(scenario)


def test_a_page_that_is_opened_again_finds_its_points_and_trails(use):
    async def scenario(site):
        async with site.browser() as page:
            await page.next()
            await page.ask("add", points=[[20.5, 30]])
            for number in (1, 2):
                await page.ask("step")
                last = await page.until(lambda t, n=number: t["frame"] == n)
        async with site.browser() as page:
            again = await page.next()
            assert {**again, "status": None} == {**last, "status": None}
            assert [frame["ids"] for frame in page.past] == [[], [0], [0]]

    use(scenario)


def test_a_page_that_shows_nothing_is_not_sent_all_that_comes(use, video):
    async def scenario(site):
        async with site.browser() as slow, site.browser() as page:
            await slow.socket.receive(timeout=SECONDS)
            told = await page.until(lambda told: told["status"]["state"] == "ended")
            waiting = []
            with suppress(asyncio.TimeoutError):
                while not waiting or waiting[-1] in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY):
                    waiting.append((await slow.socket.receive(timeout=0.3)).type)
            assert waiting.count(aiohttp.WSMsgType.BINARY) <= 2
            assert told["status"]["frames"] > 2

    use(scenario, playing=True)


@pytest.mark.parametrize(
    "text", ["", "{", '{"do": "dance"}', '{"do": "add", "points": [[1e9, 0]]}', '{"do": "add", "points": [[NaN, 1]]}']
)
def test_what_cannot_be_asked_for_changes_nothing(use, text):
    async def scenario(site):
        async with site.browser() as page:
            await page.next()
            await page.socket.send_str(text)
            await page.ask("add", points=[[20, 30]])
            assert (await page.until(lambda told: told["ids"]))["ids"] == [0]

    use(scenario)


def test_what_is_far_too_long_closes_the_socket_and_no_more(use):
    async def scenario(site):
        async with site.browser() as page:
            await page.next()
            await page.socket.send_str(" " * (1 << 21))
            assert (await page.socket.receive(timeout=SECONDS)).type == aiohttp.WSMsgType.CLOSE
        async with site.browser() as page:
            assert (await page.next())["frame"] == 0

    use(scenario)


def test_a_recording_is_started_and_stopped_from_the_page(use, tmp_path):
    async def scenario(site):
        async with site.browser() as page:
            await page.next()
            await page.ask("add", points=[[20, 30]])
            await page.ask("record")
            await page.ask("step")
            await page.until(lambda told: (told["status"]["recording"] or {}).get("frames") == 1)
            await page.ask("stop")
            note = (await page.until(lambda told: told["status"]["note"]))["status"]["note"]
        (video,) = tmp_path.glob("*.mp4")
        assert note == f"saved {video.name} and {video.stem}.npz"
        with tapsdk.open_frames(video) as frames:
            assert len(list(frames)) == 1
        assert tapsdk.Tracks.load(video.with_suffix(".npz")).xy.shape == (1, 1, 2)

    use(scenario)
