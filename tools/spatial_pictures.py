"""Makes the pictures of docs/three_dimensions.md: a generated room, tracked, lifted into space and drawn.

    python -m tools.spatial_pictures -o docs

The page's picture is taken by Chromium, where there is one.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import tempfile
from pathlib import Path

import cv2

import tapsdk
from training.data.synthetic import SceneConfig
from training.data.synthetic.rooms import make_room

SIZE, FRAMES, POINTS, SEED = (240, 320), 24, 100, 1_000_003
NAME = "three_dimensions"
WINDOW = (1000, 640)
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def lifted() -> tuple[tapsdk.Tracks3D, object]:
    """Tracks of the bundled model in space, and their colours."""
    config = SceneConfig(*SIZE, FRAMES, POINTS, query="frame0").without_appearance()
    room = make_room(config, SEED)
    tracks = tapsdk.track(room.frames, room.queries, fps=24)
    colours = tapsdk.position_colors(room.queries[:, 1:], SIZE)
    return tapsdk.lift(tracks, room.depth, room.intrinsics, room.camera_to_world), colours


def photograph(page: Path, picture: Path) -> None:
    """The page as Chromium shows it, at half of its size."""
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={page.parent / 'profile'}"]
    command += [f"--window-size={WINDOW[0]},{WINDOW[1]}", "--force-device-scale-factor=2", "--virtual-time-budget=3000"]
    subprocess.run([*map(str, command), f"--screenshot={picture}", page.as_uri()], check=True, capture_output=True)
    image = cv2.imread(str(picture))
    cv2.imwrite(str(picture), cv2.resize(image, WINDOW, interpolation=cv2.INTER_AREA), [cv2.IMWRITE_PNG_COMPRESSION, 9])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR")
    folder = parser.parse_args().output
    spatial, colours = lifted()
    spatial.plot(folder / f"{NAME}.svg", colors=colours, title="A generated room, tracked and lifted")
    if CHROMIUM is None:
        raise SystemExit("there is no Chromium to take the page's picture with")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as temporary:
        page = Path(temporary) / "scene.html"
        spatial.view(page, colors=colours, title="A generated room")
        photograph(page, folder.absolute() / f"{NAME}.png")


if __name__ == "__main__":
    main()
