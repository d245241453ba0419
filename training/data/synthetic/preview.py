"""Contact sheet of synthetic clips and their tracks: python -m training.data.synthetic.preview --seed 0 -o sheet.png"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from training.data.labelled_video import LabelledVideo
from training.data.synthetic import SceneConfig, make_clip

_TRAIL = 6


def draw_tracks(clip: LabelledVideo, frame: int, scale: int) -> NDArray[np.uint8]:
    """One frame, enlarged: a dot per point (a ring if it is hidden) and a trail of its last positions."""
    image = cv2.resize(clip.frames[frame], None, fx=scale, fy=scale, interpolation=cv2.INTER_NEAREST)
    hue = (np.arange(len(clip.xy)) * 180 // max(len(clip.xy), 1)).astype(np.uint8)
    hsv = np.stack([hue, np.full_like(hue, 255), np.full_like(hue, 255)], -1)[None]
    colours = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)[0].tolist()
    trails = np.round(clip.xy[:, max(0, frame - _TRAIL) : frame + 1] * scale * 8 - 4)
    trails = np.clip(trails, -(1 << 20), 1 << 20).astype(np.int32)
    for trail, colour, seen in zip(trails, colours, clip.visible[:, frame], strict=True):
        if seen:
            cv2.polylines(image, [trail], False, colour, 1, cv2.LINE_AA, 3)
        cv2.circle(image, trail[-1].tolist(), 8 * 3, colour, -1 if seen else 1, cv2.LINE_AA, 3)
    return image


def contact_sheet(clips: list[LabelledVideo], columns: int, scale: int) -> NDArray[np.uint8]:
    """One row per clip, `columns` frames spread over its length."""
    rows = []
    for clip in clips:
        picks = np.linspace(0, len(clip.frames) - 1, columns).round().astype(int)
        rows.append(np.concatenate([draw_tracks(clip, int(f), scale) for f in picks], axis=1))
    return np.concatenate(rows, axis=0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0, help="seed of the first clip")
    parser.add_argument("--clips", type=int, default=4)
    parser.add_argument("--columns", type=int, default=5)
    parser.add_argument("--scale", type=int, default=2)
    parser.add_argument("--size", type=int, nargs=2, default=(128, 128), metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--frames", type=int, default=16)
    parser.add_argument("--points", type=int, default=48)
    parser.add_argument("--textures", help="folder of photographs")
    parser.add_argument("--split", choices=("train", "heldout", "all"), default="train")
    parser.add_argument("--plain", action="store_true", help="no appearance effects")
    parser.add_argument("-o", "--output", type=Path, required=True)
    options = parser.parse_args()
    height, width = options.size
    config = SceneConfig(
        height=height,
        width=width,
        frames=options.frames,
        points=options.points,
        textures=options.textures,
        split=options.split,
    )
    if options.plain:
        config = config.without_appearance()
    clips = [make_clip(config, options.seed + i) for i in range(options.clips)]
    sheet = contact_sheet(clips, options.columns, options.scale)
    if not cv2.imwrite(str(options.output), cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR)):
        raise SystemExit(f"cannot write {options.output}")


if __name__ == "__main__":
    main()
