"""The web page as it is kept: without a network, opened as a file, with a link to somebody's tracks."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tapsdk.tracks import Tracks
from tests.examples.browser import handler_of, serving
from tests.examples.test_web import build, needs_browser, needs_node, needs_package
from tests.support import import_or_skip

import_or_skip("aiohttp", "live")

from tests.devtools import Page, pages  # noqa: E402  # it needs aiohttp

pytestmark = [needs_node, needs_package, needs_browser, pytest.mark.slow]


@pytest.fixture(scope="module")
def site(bundled: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(bundled, tmp_path_factory.mktemp("site"))


@pytest.fixture
def tracks(tmp_path: Path) -> bytes:
    """A file that Python saved: two points, one of which comes late and is lost again."""
    xy = np.full((2, 4, 2), np.nan, np.float32)
    xy[0], xy[1, 1:] = [[20, 30], [22, 30], [24, 30], [26, 30]], [100, 60]
    visible = np.array([[1, 1, 1, 1], [0, 1, 1, 0]], bool)
    Tracks(xy, visible, np.where(visible, 0.9, 0.1).astype(np.float32), fps=20).save(tmp_path / "tracks.json")
    return (tmp_path / "tracks.json").read_bytes()


async def until_points(page: Page, count: int) -> None:
    await page.until(f"parseInt(document.getElementById('points').textContent) === {count}")


def test_once_it_was_seen_it_works_without_a_network(site: Path):
    async def scenario(address: str, server: Iterator[None]) -> None:
        async with pages() as (page,):
            await page.open(f"{address}/?provider=wasm")
            await until_points(page, 15)
            await page.value("navigator.serviceWorker.ready.then(({ active }) => active.state)")
            await page.reload()
            await page.until("navigator.serviceWorker.controller !== null")
            await until_points(page, 15)
            next(server, None)  # it is gone
            await page.reload()
            await until_points(page, 15)
            assert await page.text("runs-on") == "WebAssembly, 1 thread"
            manifest = await page.value("fetch('site.webmanifest').then((answer) => answer.json())")
            assert manifest["start_url"] == "./"
            assert await page.value("fetch('icon.svg').then((answer) => answer.headers.get('content-type'))")

    def running() -> Iterator[str]:
        with serving(handler_of(site, {})) as address:
            yield address

    server = running()
    asyncio.run(scenario(next(server), server))


def test_opened_as_a_file_it_says_what_to_do(site: Path):
    async def scenario() -> None:
        async with pages() as (page,):
            await page.open((site / "index.html").as_uri())
            said = await page.text("message")
            assert said.startswith("This page was opened as a file, and browsers run it from a server only: npm start")

    asyncio.run(scenario())


def test_a_link_shows_the_tracks_that_it_names(site: Path, tracks: bytes):
    async def scenario(address: str) -> None:
        async with pages() as (page,):
            await page.open(f"{address}/?provider=wasm&tracks=tracks.json")
            await page.until("document.getElementById('play').textContent === 'Again'")
            assert await page.text("points") == "2 1 hidden"
            assert await page.value("document.getElementById('picture').width") == 100
            await page.open(f"{address}/?provider=wasm&tracks=none.json")
            await page.until("document.getElementById('message').textContent.includes('none.json')")
            assert "open a file of tracks instead" in await page.text("message")

    with serving(handler_of(site, {"tracks.json": tracks})) as address:
        asyncio.run(scenario(address))
