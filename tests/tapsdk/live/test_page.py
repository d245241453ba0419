"""The page of `tapsdk live` in headless Chromium, as a person uses it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tapsdk.tracker import Tracker
from tapsdk.tracks import Tracks
from tapsdk.video import VideoWriter, open_frames
from tests.examples.browser import CHROMIUM
from tests.support import child_environment, import_or_skip, moving_texture

import_or_skip("aiohttp", "live")

from tests.devtools import Page, pages  # noqa: E402  # it needs aiohttp

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None or os.name == "nt", reason="needs chromium on Linux or macOS"),
]

SIZE = (90, 160)
SHOWN = "document.getElementById('picture').width > 300 || document.getElementById('picture').width === 160"


class Live:
    """`tapsdk live` in a process of its own."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        command = [sys.executable, "-m", "tapsdk", "live", "--port", "0", "--backend", "onnxruntime:fused", *arguments]
        self.process = subprocess.Popen(
            command, cwd=folder, env=child_environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().strip()

    def end(self) -> str:
        """What it says when it is asked to end."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.communicate(timeout=60)[1]


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    path = tmp_path / "clip.mp4"
    with VideoWriter(path, 10, SIZE) as writer:
        for frame in moving_texture(100, *SIZE, step=(2, 1)):
            writer.write(frame)
    return path


@pytest.fixture
def live(clip: Path, tmp_path: Path) -> Iterator[Live]:
    """On the clip, which stands at its first frame."""
    found = Live(tmp_path, str(clip), "--paused")
    yield found
    found.process.kill()
    found.process.communicate()


async def place_of(page: Page, x: float, y: float) -> tuple[float, float]:
    """In the window, of a point in shares of the picture's sides."""
    left, top, width, height = json.loads(
        await page.value(
            "(({left, top, width, height}) => JSON.stringify([left, top, width, height]))"
            "(document.getElementById('overlay').getBoundingClientRect())"
        )
    )
    return left + x * width, top + y * height


async def points(page: Page) -> int:
    return int((await page.text("points")).split()[0])


async def until_points(page: Page, count: int) -> None:
    await page.until(f"parseInt(document.getElementById('points').textContent) === {count}")


async def open_at(page: Page, url: str) -> None:
    await page.resize(1000, 800)
    await page.open(url)
    await page.until(f"{SHOWN} && document.getElementById('state').textContent === 'Paused'")


def test_a_click_adds_a_point_that_follows_and_stays(live: Live, clip: Path, tmp_path: Path):
    async def scenario() -> None:
        async with pages(2) as (page, other):
            await open_at(page, live.url)
            await open_at(other, live.url)
            await page.click(*await place_of(page, 0.5, 0.5))
            for each in (page, other):
                await until_points(each, 1)
            await page.type("r")
            await page.until("document.getElementById('record').textContent === 'Stop'")
            for _ in range(5):
                before = await page.text("state")
                await page.type("s")
                await page.until(f"document.getElementById('state').textContent !== {json.dumps(before)}")
            await page.reload()
            await until_points(page, 1)
            assert await page.text("record") == "Stop"
            await page.type(" ")
            await page.until("document.getElementById('state').textContent.match(/[0-9]+/)[0] > 20")
            assert await points(other) == 1

    asyncio.run(scenario())
    said = live.end()
    assert live.process.returncode == 143
    (recorded,) = tmp_path.glob("live-*-1.mp4")
    (whole,) = (path for path in tmp_path.glob("live-*.npz") if not path.stem.endswith("-1"))
    for path in (recorded, recorded.with_suffix(".npz"), whole):
        assert f"saved {path.name}" in said
    with open_frames(recorded) as frames:
        shown = list(frames)
    part, tracks = Tracks.load(recorded.with_suffix(".npz")), Tracks.load(whole)
    assert len(shown) == part.num_frames > 20
    np.testing.assert_array_equal(part.xy, tracks.xy[:, 1 : 1 + part.num_frames])
    np.testing.assert_allclose(tracks.queries, [[0, SIZE[1] / 2, SIZE[0] / 2]], atol=0.2)

    # The frames that were tracked, by their times, and what a tracker of one's own says of them.
    tracker = Tracker(backend="onnxruntime:fused")
    tracker.add(tracks.queries[:, 1:])
    with open_frames(clip) as frames:
        video = list(frames)
    numbers = np.rint(tracks.times * 10).astype(int)
    expected = np.concatenate([tracker.step(video[number]).xy for number in numbers], axis=1)
    assert np.linalg.norm(tracks.xy - expected, axis=-1).max() < 0.01
    steady = np.stack([80 + 2 * numbers, 45 + numbers], axis=-1)[:8]
    assert np.linalg.norm(tracks.xy[0, :8] - steady, axis=-1).max() < 4


def test_points_come_and_go_by_hand(live: Live):
    async def scenario() -> None:
        async with pages() as (page,):
            await open_at(page, live.url)
            await page.drag(await place_of(page, 0.2, 0.2), await place_of(page, 0.5, 0.6))
            await page.until("parseInt(document.getElementById('points').textContent) > 5")
            grid = await points(page)
            await page.click(*await place_of(page, 0.8, 0.8))
            await until_points(page, grid + 1)
            await page.click(*await place_of(page, 0.8, 0.8), "Shift")
            await until_points(page, grid)
            await page.drag(await place_of(page, 0.1, 0.1), await place_of(page, 0.7, 0.7), "Shift")
            await until_points(page, 0)
            await page.type("g")
            await page.until("parseInt(document.getElementById('points').textContent) > 20")
            await page.type("z", "Control")
            await until_points(page, 0)

            # Without a mouse.
            await page.value("document.getElementById('overlay').focus()")
            for key in ("ArrowRight", "ArrowDown", "Enter"):
                await page.type(key)
            await until_points(page, 1)
            await page.type("Delete")
            await until_points(page, 0)

            # With a finger, on a narrow screen.
            await page.resize(390, 844, touch=True)
            await asyncio.sleep(0.3)
            await page.tap(*await place_of(page, 0.3, 0.4))
            await until_points(page, 1)
            await page.tap(*await place_of(page, 0.3, 0.4), seconds=0.8)
            await until_points(page, 0)
            assert await page.value("document.documentElement.scrollWidth <= innerWidth")

    asyncio.run(scenario())


def test_a_page_says_when_nobody_answers_and_comes_back(live: Live, clip: Path, tmp_path: Path):
    async def scenario() -> None:
        async with pages() as (page,):
            await open_at(page, live.url)
            await page.click(*await place_of(page, 0.5, 0.5))
            await until_points(page, 1)
            live.end()
            await page.until("document.getElementById('state').textContent === 'No connection'")
            assert "does not answer" in await page.text("message")
            assert await page.value("document.getElementById('controls').inert")
            port = live.url.split(":")[2].strip("/")
            again = Live(tmp_path, str(clip), "--paused", "--port", port)
            try:
                assert again.url == live.url
                await page.until("document.getElementById('state').textContent === 'Paused'")
                assert await page.text("message") == ""
                assert await points(page) == 0
            finally:
                again.end()

    asyncio.run(scenario())
