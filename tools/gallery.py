"""Runs the code of docs/gallery.md and makes its pictures of what it leaves.

    python -m tools.gallery                  # all of them
    python -m tools.gallery rainbow groups   # some
    python -m tools.gallery --folder DIR     # what the code leaves stays there

A section is run in a folder that holds `video.mp4`, which is the clip of `make demo`, `shaky.mp4`, which is the same
from an unsteady hand, `poster.png`, and the folders `examples` and `training` of the repository. What it leaves under
the name of its picture, a video, a drawing or a page, becomes that picture: a video at half of its frames and small, a
page as Chromium shows it. docs/gallery/code.json holds sums of the code, by which a test knows pictures of older code.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

import tapsdk
from tools.chromium import Browser, BrowserError, serving
from tools.gallery_phone import run_kotlin

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "gallery.md"
PICTURES = PAGE.with_suffix("")
SUMS = PICTURES / "code.json"
CLIP = ROOT / "examples" / "demo" / "clip.mp4"

BESIDE = {"steady": "shaky"}
"""What is shown to the left of a video, to compare it with."""
WIDTHS, LONGEST, EVERY, QUALITY = {1: 512, 2: 360}, 44, 2, 40
"""Of videos as pictures: pixels of one alone and of each of two, frames, of which one of so many is shown, and of WebP,
in per cent."""
WIDTH, SHARPNESS = 1000, 1.2
"""Of Chromium's window, and of its pictures."""


@dataclass(frozen=True)
class Page:
    """How a page is shown: the window's height, what follows the address, what is tried in it until it is true; and how
    much of the height is kept, from the top."""

    height: int
    query: str = ""
    until: str = "true"
    kept: float = 1.0


PAGES = {
    "browser": Page(850, "?provider=wasm", "parseInt(document.getElementById('points').textContent) > 0"),
    "compared": Page(760, "", "by('errors').click(), by('frame').value = 16, show(16), true"),
    "space": Page(760),
}
SECONDS, PATIENCE = 5, 60
"""From then on until it is photographed, and how long it may take to become true."""
SHAKE, SHAKE_FRAMES = {"pixels": 9.0, "degrees": 1.6, "margin": 0.12}, 36


@dataclass(frozen=True)
class Section:
    """A title, the name of its picture, and its blocks of code: (language, text)."""

    title: str
    picture: str
    blocks: list[tuple[str, str]]

    @property
    def name(self) -> str:
        return Path(self.picture).stem

    @property
    def sum(self) -> str:
        """Changes when the code does."""
        return hashlib.sha256(json.dumps(self.blocks).encode()).hexdigest()[:16]


def sections(page: str) -> list[Section]:
    """Those of the page that have a picture."""
    found = []
    for part in re.split(r"^## ", page, flags=re.MULTILINE)[1:]:
        picture = re.search(r"^!\[[^\]]+\]\(gallery/([\w.-]+)\)$", part, re.MULTILINE)
        if picture:
            blocks = re.findall(r"^```(\w+)\n(.*?)^```$", part, re.MULTILINE | re.DOTALL)
            found.append(Section(part.splitlines()[0], picture[1], blocks))
    return found


def prepare(folder: Path) -> None:
    """Puts into a folder what the code reads."""
    for name in ("examples", "training"):
        if not (folder / name).exists():
            (folder / name).symlink_to(ROOT / name)
    shutil.copy(CLIP, folder / "video.mp4")
    with tapsdk.open_frames(CLIP) as source:
        frames, fps = np.stack(list(source)[:SHAKE_FRAMES]), source.fps
    with tapsdk.VideoWriter(folder / "shaky.mp4", fps, frames.shape[1:3]) as writer:
        for frame in shaken(frames):
            writer.write(frame)
    cv2.imwrite(str(folder / "poster.png"), poster()[..., ::-1])


def shaken(frames: np.ndarray) -> list[np.ndarray]:
    """Frames [T, H, W, 3] as an unsteady hand would film them, a little closer, so that no border shows."""
    height, width = frames.shape[1:3]
    rng = np.random.default_rng(1)
    # Two sways at rates of their own, and a tremor.
    t = np.arange(len(frames))[:, None] / 24
    sway = np.sin(2 * np.pi * (rng.uniform(0.6, 1.4, 3) * t + rng.uniform(0, 1, 3)))
    sway += 0.6 * np.sin(2 * np.pi * (rng.uniform(1.8, 3.2, 3) * t + rng.uniform(0, 1, 3)))
    sway += 0.15 * rng.standard_normal((len(frames), 3))
    found = []
    for frame, (x, y, turn) in zip(frames, sway, strict=True):
        matrix = cv2.getRotationMatrix2D((width / 2, height / 2), SHAKE["degrees"] * turn, 1 + SHAKE["margin"])
        matrix[:, 2] += SHAKE["pixels"] * x, SHAKE["pixels"] * y
        found.append(cv2.warpAffine(frame, matrix, (width, height), borderMode=cv2.BORDER_REFLECT))
    return found


def poster() -> np.ndarray:
    """A picture to lay on things, [H, W, 3] RGB."""
    size = (240, 360)
    xy = np.stack(np.meshgrid(np.arange(size[1]), np.arange(size[0])), axis=-1).reshape(-1, 2)
    picture = tapsdk.position_colors(xy, size).reshape(*size, 3)
    for shift, colour in ((3, (20, 20, 20)), (0, (255, 255, 255))):
        cv2.putText(picture, "tapsdk", (38 + shift, 140 + shift), cv2.FONT_HERSHEY_DUPLEX, 2.6, colour, 8, cv2.LINE_AA)
    return cv2.copyMakeBorder(picture, 10, 10, 10, 10, cv2.BORDER_CONSTANT, value=(255, 255, 255))


def run(section: Section, folder: Path) -> None:
    """Runs its blocks in the folder."""
    for language, text in section.blocks:
        if language == "sh":
            for line in text.replace("\\\n", " ").splitlines():
                command(shlex.split(line, comments=True), folder)
        elif language == "python":
            command(["python", "-c", text], folder)
        else:
            run_kotlin(text, folder, section.name)


def command(words: list[str], folder: Path) -> None:
    """Raises CalledProcessError."""
    programs = {"tapsdk": [sys.executable, "-m", "tapsdk"], "python": [sys.executable]}
    if not words or words[:2] == ["npm", "ci"]:  # which is for the reader: it asks the network
        return
    paths = os.pathsep.join([str(ROOT), str(ROOT / "bindings"), os.environ.get("PYTHONPATH", "")])
    words = [*programs.get(words[0], words[:1]), *words[1:]]
    subprocess.run(words, cwd=folder, check=True, env={**os.environ, "PYTHONPATH": paths})


def picture_of(section: Section, folder: Path, output: Path) -> None:
    """Makes the picture of what the code left."""
    left = folder / section.name
    if left.with_suffix(".svg").exists():
        shutil.copy(left.with_suffix(".svg"), output)
    elif left.with_suffix(".mp4").exists():
        videos = [folder / f"{name}.mp4" for name in (BESIDE.get(section.name), section.name) if name]
        columns = [small_frames(video, len(videos)) for video in videos]
        frames = [np.hstack(row) for row in zip(*columns, strict=True)]
        first, *rest = map(Image.fromarray, frames)
        first.save(
            output, save_all=True, append_images=rest, duration=EVERY * 1000 // 24, loop=0, quality=QUALITY, method=6
        )
    else:
        taken = folder / f"{section.name}-page.png"
        page = PAGES[section.name]
        photograph(left, taken, page)
        with Image.open(taken) as image:
            kept = image.convert("RGB").crop((0, 0, image.width, round(page.kept * image.height)))
        kept.save(output, quality=80, method=6)


def small_frames(video: Path, parts: int = 1) -> list[np.ndarray]:
    """[H, W, 3] each. parts: videos that are shown side by side."""
    with tapsdk.open_frames(video) as source:
        height, width = source.size
        size = (WIDTHS[parts], round(WIDTHS[parts] * height / width))
        kept = list(source)[:LONGEST:EVERY]
    return [cv2.resize(frame, size, interpolation=cv2.INTER_AREA) if width > size[0] else frame for frame in kept]


def photograph(left: Path, taken: Path, page: Page) -> None:
    """left: NAME.html, or a folder with an index.html."""
    path = f"{left.name}/index.html" if left.is_dir() else f"{left.name}.html"
    with serving(left.parent) as address, Browser((WIDTH, page.height), SHARPNESS) as browser:
        browser.open(f"{address}/{path}{page.query}")
        patience = time.monotonic() + PATIENCE
        while not browser.run(page.until):
            if time.monotonic() > patience:
                raise BrowserError(f"{path}: {page.until} did not become true")
            time.sleep(0.1)
        time.sleep(SECONDS)
        browser.photograph(taken)


def make(section: Section, folder: Path) -> None:
    began = time.monotonic()
    run(section, folder)
    output = PICTURES / section.picture
    picture_of(section, folder, output)
    sums = json.loads(SUMS.read_text(encoding="utf-8")) if SUMS.exists() else {}
    SUMS.write_text(json.dumps({**sums, section.name: section.sum}, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    size, seconds = output.stat().st_size / 1e3, time.monotonic() - began
    print(f"{output.relative_to(ROOT)}: {size:.0f} kB, {seconds:.0f} s", flush=True)


def main() -> None:
    found = {section.name: section for section in sections(PAGE.read_text(encoding="utf-8"))}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(found)} (default: all)")
    parser.add_argument("--folder", type=Path, metavar="DIR", help="to work in")
    args = parser.parse_args()
    unknown = sorted(set(args.names) - set(found))
    if unknown:
        parser.error(f"the page has no picture {', '.join(unknown)}")
    PICTURES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        prepare(folder)
        for name in args.names or found:
            make(found[name], folder)


if __name__ == "__main__":
    main()
