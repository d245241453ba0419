"""The web page: its numbers are the Python runtime's, in a headless Chromium, and a person can use it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tapsdk
from tapsdk.artifact.manifest import FrameSpec
from tapsdk.runtime.sizes import working_size
from tapsdk.runtime.stages import preprocess
from tapsdk.video import VideoWriter
from tests.examples.browser import CHROMIUM, run_in_chromium
from tests.examples.refusals import ONNX_REFUSALS, REFUSALS, changed
from tests.golden import flow_cases
from tests.support import ROOT, copy_artifact, in_fog, moving_texture, random_points

WEB = ROOT / "examples" / "web"
PACKAGE = WEB / "node_modules" / "onnxruntime-web"
NODE = shutil.which("node")
CAMERA = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
SOFTWARE_GPU = ["--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader"]

needs_node = pytest.mark.skipif(NODE is None, reason="needs node: https://nodejs.org")
needs_package = pytest.mark.skipif(
    not PACKAGE.exists(), reason="needs onnxruntime-web: npm ci --ignore-scripts --prefix examples/web"
)
needs_browser = pytest.mark.skipif(
    CHROMIUM is None or os.name == "nt", reason="needs chromium on Linux or macOS: apt install chromium"
)


def node(*arguments: object, **options: Any) -> str:
    assert NODE is not None
    return subprocess.run([NODE, *map(str, arguments)], check=True, text=True, stdout=subprocess.PIPE, **options).stdout


def build(model: Path, to: Path) -> Path:
    node(WEB / "build.js", "--model", model, "--out", to)
    return to


@pytest.fixture(scope="module")
def site(bundled: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built page with the bundled model. Do not write into it."""
    return build(bundled, tmp_path_factory.mktemp("site"))


# How frames are made ready


@needs_node
@pytest.mark.parametrize("to_range", [(-1, 1), (0, 1), (-0.5, 255)])
def test_frames_are_resized_as_by_the_kernel(to_range: tuple[float, float]):
    rng = np.random.default_rng(0)
    sizes = [((72, 128), (48, 80)), ((9, 7), (64, 96)), ((100, 3), (64, 64)), ((32, 40), (32, 40)), ((1, 1), (16, 16))]
    images = [rng.integers(0, 256, (*size, 3), np.uint8) for size, _ in sizes]
    requests = [
        {
            "size": image.shape[:2],
            "to": to,
            "range": to_range,
            "rgba": np.insert(image, 3, 255, axis=-1).ravel().tolist(),
        }
        for image, (_, to) in zip(images, sizes, strict=True)
    ]
    answer = ask_node("resize", {"sizes": [], "frames": requests})["frames"]
    for image, (_, to), values in zip(images, sizes, answer, strict=True):
        (expected,) = preprocess(image, to, FrameSpec(to, range=to_range))
        np.testing.assert_allclose(
            np.reshape(values, expected.shape), expected, atol=1e-5 * (to_range[1] - to_range[0])
        )


@needs_node
def test_working_sizes_are_those_of_geometry():
    # 24 x 40 and the like lie half way between two multiples of 16.
    sides = [1, 8, 17, 24, 40, 100, 256, 360, 720, 1081, 4000]
    rows = [((h, w), (256, 256), 16) for h in sides for w in sides] + [((h, 64), (64, 64), 16) for h in sides]
    rows += [((h, w), (64, 96), 8) for h in sides for w in sides]
    requests = [dict(zip(("size", "resolution", "multiple"), row, strict=True)) for row in rows]
    answer = ask_node("resize", {"sizes": requests, "frames": []})["sizes"]
    assert answer == [list(working_size(*row)) for row in rows]


# How points follow the picture


@needs_node
def test_points_are_followed_as_the_table_says():
    flow_cases.check(ask_node("flow", flow_cases.PATH.read_text(encoding="utf-8")))


# What is not done here


@needs_node
@pytest.mark.parametrize("name", [*REFUSALS, *ONNX_REFUSALS])
def test_what_cannot_be_honoured_is_refused(bundled: Path, name: str):
    change, said = (REFUSALS | ONNX_REFUSALS)[name]
    table = json.loads((bundled / "manifest.json").read_text(encoding="utf-8"))
    fine, refused = ask_node("manifest", [table, changed(table, change)])
    assert fine is None
    assert said in refused


@needs_node
def test_what_may_be_left_out_is_left_out(bundled: Path):
    table = json.loads((bundled / "manifest.json").read_text(encoding="utf-8"))
    table["frames"] = {"size": table["frames"]["size"]}
    table["points"] = {"space": table["points"]["space"]}
    del table["flow"], table["visibility"]["threshold"]
    assert ask_node("manifest", [table]) == [None]


@needs_node
def test_a_page_for_a_model_that_it_does_not_run_is_not_built(bundled: Path, tmp_path: Path):
    model = copy_artifact(bundled, tmp_path / "model", lambda table: table.update(program={"kind": "refined"}))
    command = [NODE, WEB / "build.js", "--model", model, "--out", tmp_path / "site"]
    result = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    assert result.returncode != 0
    assert 'its program is "refined"' in result.stderr
    assert not (tmp_path / "site").exists()


def ask_node(module: str, request: Any) -> Any:
    """What pages/`module`.mjs answers, which calls the page's module of that name. request: JSON, or the object."""
    script = Path(__file__).parent / "pages" / f"{module}.mjs"
    text = request if isinstance(request, str) else json.dumps(request)
    return json.loads(node(script, WEB / f"{module}.js", input=text))


# What runs in the browser


@needs_node
@needs_package
@needs_browser
@pytest.mark.slow
@pytest.mark.parametrize(
    "size, frames, provider, isolated",
    [
        pytest.param((160, 160), 16, "wasm", False, id="square, one thread"),
        pytest.param((288, 162), 16, "wasm", True, id="9:16, threads allowed"),
        pytest.param((96, 96), 5, "webgpu", False, id="WebGPU in software"),
    ],
)
def test_tracks_are_those_of_the_python_runtime(
    site: Path, size: tuple[int, int], frames: int, provider: str, isolated: bool
):
    """Points are added at two frames and one is removed; a post hides what passes behind it, and one leaves the frame.

    None begins on the post or its edges, where nothing can be followed for sure: there differences of rounding grow
    from frame to frame, between instruction sets of the kernels just as between them and JavaScript. Fog makes surfaces
    bare, so that confidence tells whether each point keeps the texture that is its own.
    """
    video = in_fog(moving_texture(frames, *size, step=(2, 1)))
    video[:, :, size[1] // 2 : size[1] * 5 // 8] = 30
    left = video[:, :, : size[1] * 2 // 5]
    add = {0: random_points(6, left), 2: np.float32([*random_points(2, left, seed=1), (size[1] - 5, size[0] / 2)])}
    remove = {3: [1]}
    scenario = {
        "provider": provider,
        "size": size,
        "frames": frames,
        "add": {t: points.tolist() for t, points in add.items()},
        "remove": remove,
    }
    raw = {f"frames/{t}": np.insert(frame, 3, 255, axis=-1).tobytes() for t, frame in enumerate(video)}
    found = run_in_chromium(site, "tracks.js", scenario, extra=raw, isolated=isolated, flags=SOFTWARE_GPU)

    assert found["description"].startswith("WebGPU" if provider == "webgpu" else "WebAssembly")
    tracker = tapsdk.Tracker(backend="onnxruntime:fused")
    for t, (frame, points) in enumerate(zip(video, found["frames"], strict=True)):
        tracker.add(add.get(t, []))
        tracker.remove(remove.get(t, []))
        expected = tracker.step(frame)
        assert [p["id"] for p in points] == tracker.ids
        np.testing.assert_allclose([[p["x"], p["y"]] for p in points], expected.xy[:, 0], atol=0.1, err_msg=f"{t}")
        np.testing.assert_allclose([p["confidence"] for p in points], expected.confidence[:, 0], atol=0.01)
        assert [p["visible"] for p in points] == expected.visible[:, 0].tolist()


@needs_node
@needs_package
@needs_browser
@pytest.mark.slow
def test_mistakes_are_explained_and_leave_the_tracker_as_it_was(site: Path, bundled: Path, tmp_path: Path):
    future = copy_artifact(bundled, tmp_path / "future", lambda table: table.update(schema=99))
    damaged = bytearray((bundled / "query.onnx").read_bytes())
    damaged[100] ^= 1
    extra = {"future/manifest.json": (future / "manifest.json").read_bytes(), "damaged/query.onnx": bytes(damaged)}
    for name in ("manifest.json", "encode.onnx", "step.onnx", "weights.safetensors"):
        extra[f"damaged/{name}"] = (bundled / name).read_bytes()
    found = run_in_chromium(site, "mistakes.js", extra=extra)
    said = found["said"]
    expected = {
        "no artifact": "is not an artifact: its manifest.json gave status 404",
        "another schema": "has schema 99; this page reads schema 3",
        "a damaged file": "query.onnx is damaged",
        "no WebGPU": "WebGPU finds no graphics processor",
        "not a number": "points are [[x, y], ...] in pixels, got [[null,3]]",
        "unknown id": "no point has id 77; the ids are 0, 1",
        "another size": "the frame is 48 x 64 pixels, those before it were not; call reset() first",
        "outside": "point (65, 10) is outside the frame of 64 x 48 pixels",
        "too early": "step() was called before the last step() had ended",
    }
    assert said.keys() == expected.keys()
    assert {name: text for name, text in expected.items() if text not in said[name]} == {}, said
    assert found["steps"] == found["expected"]
    assert found["left"] == []


@needs_node
@needs_package
@needs_browser
@pytest.mark.slow
def test_a_person_can_use_the_page(site: Path, tmp_path: Path):
    clip = tmp_path / "clip.mp4"
    with VideoWriter(clip, 25, (72, 128)) as writer:
        for frame in moving_texture(10, 72, 128):
            writer.write(frame)
    seen = run_in_chromium(site, "page.js", extra={"clip.mp4": clip.read_bytes()}, flags=CAMERA)
    assert seen["runsOn"] == "WebAssembly, 1 thread"
    assert " ms " in seen["ms"]
    assert seen["picture"] == 1
    assert 0 < seen["demo"] < 0.1
    assert seen["pausedButton"] == "Play"
    assert seen["atClick"]
    assert not seen["afterSecondClick"]
    assert seen["cleared"] == 0
    as_it_was = {"points": 2, "demo": True, "runsOn": "WebAssembly, 1 thread"}
    said = {
        "withoutEngine": "WebGPU finds no graphics processor",
        "withAnotherEngine": "",
        "withBadFile": "This browser cannot play broken.mp4: choose an mp4 or webm video",
        "withoutCamera": "There is no camera: plug one in, and press Camera again",
        "withBadTracks": "That is no file of tracks: save one here, or with Tracks.save in Python as .json",
    }
    assert seen["withoutEngine"].pop("provider") == "wasm"
    for name, text in said.items():
        assert seen[name].pop("said") == text
        assert seen[name] == as_it_was, name
    assert seen["afterAnotherEngine"]["points"] == 2
    assert (seen["cameras"], seen["afterCamera"]) == (2, 1)
    assert seen["videoSize"] == [128, 72]
    assert 80 < seen["videoLight"] < 180
    assert seen["pointsAtEnd"] == 1
    assert seen["message"] == ""
    assert seen["opened"] == {"size": [128, 72], "points": 1}
    assert seen["openedGrid"]
    (tmp_path / "tracks.json").write_text(seen["saved"], encoding="utf-8")
    tracks = tapsdk.Tracks.load(tmp_path / "tracks.json")
    assert tracks.num_frames > 1
    np.testing.assert_allclose(tracks.queries[:, 1:], [[64, 36]], atol=0.5)
    assert np.isfinite(tracks.xy).all()
