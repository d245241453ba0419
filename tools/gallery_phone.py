"""What the Kotlin class of examples/android does, seen on a JVM, where ONNX Runtime stands in for LiteRT."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np

import tapsdk
from tapsdk.artifact import open_artifact
from tests.examples.test_phones import FLOW, JSON_JAR, JVM, SNIPPETS, as_for_phones
from tests.support import copy_artifact

SIDES = (288, 216)
"""(height, width) of what is cut out of the middle of the clip: a telephone is held upright."""
SCALE = 2
AROUND = """
import java.io.File
import org.tapsdk.examples.Frame
import org.tapsdk.examples.TapTracker
import org.tapsdk.examples.TrackedPoint

val height = {height}
val width = {width}
val frames = File("frames.rgb").readBytes().asIterable().chunked(3 * height * width).map {{ rgb ->
    Frame(width, height, IntArray(height * width) {{ pixel ->
        val (red, green, blue) = List(3) {{ rgb[3 * pixel + it].toInt() and 255 }}
        (255 shl 24) or (red shl 16) or (green shl 8) or blue
    }})
}}

fun show(frame: Frame, points: List<TrackedPoint>) =
    println(points.map {{ listOf(it.x, it.y, if (it.visible) 1 else 0) }})

fun main() {{
{code}
}}
"""


def run_kotlin(code: str, folder: Path, name: str) -> None:
    """Runs a piece of an app, and draws what it shows into NAME.mp4. Raises CalledProcessError."""
    work = folder / f"{name}-app"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    with tapsdk.open_frames(folder / "video.mp4") as source:
        top, left = ((side - part) // 2 for side, part in zip(source.size, SIDES, strict=True))
        frames = np.stack([frame[top : top + SIDES[0], left : left + SIDES[1]] for frame in source])
        fps = source.fps
    (work / "frames.rgb").write_bytes(frames.tobytes())
    (work / "App.kt").write_text(AROUND.format(height=SIDES[0], width=SIDES[1], code=code), encoding="utf-8")
    copy_artifact(open_artifact("tapir").directory, work / "tapir-tflite", as_for_phones)
    sources = [work / "App.kt", JVM / "LiteRt.kt", SNIPPETS["kotlin"], FLOW["kotlin"]]
    jar, java = work / "app.jar", ["-cp", f"{work / 'app.jar'}:{JSON_JAR}", "AppKt"]
    subprocess.run(["kotlinc", "-nowarn", "-cp", JSON_JAR, *sources, "-include-runtime", "-d", jar], check=True)
    engine = [f"-Dpython={sys.executable}", f"-Dengine={JVM / 'engine.py'}"]
    shown = subprocess.run(["java", *engine, *java], cwd=work, check=True, stdout=subprocess.PIPE, text=True).stdout
    found = np.array([json.loads(line) for line in shown.splitlines()])  # [T, N, 3]
    draw(frames, found, folder / f"{name}.mp4", fps)
    shutil.rmtree(work)


def draw(frames: np.ndarray, found: np.ndarray, path: Path, fps: float | None) -> None:
    """found: [T, N, 3] (x, y, visible)."""
    xy, visible = SCALE * found[..., :2].swapaxes(0, 1), found[..., 2].T > 0
    tracks = tapsdk.Tracks(xy, visible, visible)
    size = (SCALE * SIDES[0], SCALE * SIDES[1])
    larger = (cv2.resize(frame, size[::-1], interpolation=cv2.INTER_CUBIC) for frame in frames)
    with tapsdk.VideoWriter(path, fps, size) as writer:
        for frame in tapsdk.draw(larger, tracks, colors="position"):
            writer.write(frame)
