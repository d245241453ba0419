"""`python -m training train`, as people run it: in processes that may be killed, in several, without PyTorch."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pytest
from numpy.typing import NDArray

from tapsdk.system.places import Url
from tests.support import ROOT, needs_kill, needs_torch
from tests.training.run.tiny import tiny_file, write_videos
from training.__main__ import _parser, main
from training.data.synthetic import SceneConfig, make_clip
from training.run import loop
from training.run.report import LOG, read_log
from training.run.run_state import CHECKPOINT, PARTS, RunState, find_checkpoint, load_checkpoint

STEPS = 30
WITHOUT_TORCH = "import sys; sys.modules['torch'] = None; from training.__main__ import main; sys.exit(main())"


def environment(**more: str) -> dict[str, str]:
    """Of processes of one thread, which is fast for what is tiny, and the same wherever it runs."""
    return {**os.environ, "OMP_NUM_THREADS": "1", **more}


def start(*arguments: object, launcher: tuple[str, ...] = ("-m", "training"), **more: str) -> subprocess.Popen[str]:
    command = [sys.executable, *launcher, "train", *map(str, arguments), "--quiet"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    return subprocess.Popen(command, cwd=ROOT, env=environment(**more), text=True, **pipes)


def finish(process: subprocess.Popen[str]) -> str:
    """Waits for the process and all that it started, which hold its output open, and returns what they said."""
    output, _ = process.communicate(timeout=600)
    assert process.returncode == 0, output
    return output


def run(*arguments: object, launcher: tuple[str, ...] = ("-m", "training"), **more: str) -> str:
    return finish(start(*arguments, launcher=launcher, **more))


def state(directory: Path, step: int) -> RunState:
    checkpoint = load_checkpoint(directory / CHECKPOINT)
    assert checkpoint.step == step
    return checkpoint.state


UNDETERMINED = "head.heatmap.bias"
"""A softmax does not see it: its gradient is rounding alone, which Adam turns into whole steps."""


def assert_same(found: RunState, expected: RunState, tolerance: float = 0.0) -> None:
    for part in PARTS:
        arrays, wanted = getattr(found, part), getattr(expected, part)
        for name in wanted.keys() - ({UNDETERMINED} if tolerance else set()):
            np.testing.assert_allclose(arrays[name], wanted[name], rtol=0, atol=tolerance, err_msg=f"{part} {name}")


@needs_torch
@needs_kill
def test_a_run_that_was_killed_and_resumed_ends_with_the_same_weights_bit_for_bit(tmp_path: Path) -> None:
    config = tiny_file(tmp_path, steps=STEPS, workers=1)
    process = start(config, "-o", tmp_path / "parts")
    while find_checkpoint(tmp_path / "parts") is None:
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.01)
    process.kill()
    # Ends when the process that makes clips has noticed, too.
    process.communicate(timeout=600)
    assert 0 < load_checkpoint(tmp_path / "parts" / CHECKPOINT).step < STEPS
    run(config, "--resume", tmp_path / "parts")
    run(config, "-o", tmp_path / "whole")
    assert_same(state(tmp_path / "parts", STEPS), state(tmp_path / "whole", STEPS))


@needs_torch
@pytest.mark.slow  # four processes that import PyTorch
def test_two_processes_train_like_one(tmp_path: Path) -> None:
    """On halves of the same batches; sums run in another order."""
    config = tiny_file(tmp_path, steps=4)
    torchrun = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "training")
    run(config, "-o", tmp_path / "two", launcher=torchrun)
    run(config, "-o", tmp_path / "one")
    assert_same(state(tmp_path / "two", 4), state(tmp_path / "one", 4), tolerance=1e-5)


@pytest.mark.slow  # JAX compiles in two processes
def test_two_devices_train_like_one_and_without_torch(tmp_path: Path) -> None:
    for package in ("jax", "equinox", "optax"):
        pytest.importorskip(package, reason=f"needs {package}: pip install '.[jax]'")
    config = tiny_file(tmp_path, steps=4, workers=1)
    flags = os.environ.get("XLA_FLAGS", "")
    for devices in (1, 2):
        arguments = (config, "--framework", "jax", "-o", tmp_path / str(devices))
        count = f"{flags} --xla_force_host_platform_device_count={devices}"
        run(*arguments, launcher=("-c", WITHOUT_TORCH), XLA_FLAGS=count, JAX_PLATFORMS="cpu")
    assert_same(state(tmp_path / "2", 4), state(tmp_path / "1", 4), tolerance=1e-5)


@pytest.mark.parametrize("framework", ["torch", pytest.param("jax", marks=pytest.mark.slow)])
def test_a_run_can_be_shortened_resumed_released_and_started_from(tmp_path: Path, framework: str) -> None:
    for package in {"torch": ("torch",), "jax": ("jax", "equinox", "optax")}[framework]:
        pytest.importorskip(package, reason=f"needs {package}: pip install '.[train,jax]'")
    config, runs, weights = str(tiny_file(tmp_path)), tmp_path / "runs", str(tmp_path / "w.safetensors")
    common = ["train", config, "--framework", framework, "--quiet"]
    assert main([*common, "--steps", "2", "-o", str(runs)]) == 0
    assert state(runs, 2).updates == 2
    assert main([*common, "--steps", "3", "--resume", str(runs)]) == 0
    assert state(runs, 3).updates == 3
    assert main(["release", str(runs), "--model", "tapir", "-o", weights]) == 0
    assert main([*common, "--steps", "1", "--init", weights, "-o", str(tmp_path / "tuned")]) == 0
    released, tuned = state(runs, 3).average, state(tmp_path / "tuned", 1).average
    for name, array in released.items():
        np.testing.assert_allclose(tuned[name], array, rtol=0, atol=1e-3, err_msg=name)


@needs_torch
def test_a_run_on_labelled_videos_goes_on_bit_for_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("PIL", reason="datasets need Pillow: pip install '.[train]'")
    videos = write_videos(tmp_path / "videos", [make_clip(SceneConfig(40, 56, 5, 6), seed) for seed in range(2)])
    config = str(tiny_file(tmp_path, steps=3, evaluate_every=3, save_every=1))
    common = ["train", config, "--data", str(videos), "--validation", str(videos), "--quiet"]
    assert main([*common, "-o", str(tmp_path / "whole")]) == 0

    def save(updater: Any, directory: Path, step: int, run: Any) -> None:
        saves(updater, directory, step, run)
        if step == 2:
            raise KeyboardInterrupt

    saves = loop.save
    monkeypatch.setattr(loop, "save", save)
    assert main([*common, "-o", str(tmp_path / "parts")]) == 130
    monkeypatch.undo()
    assert main([*common, "--resume", str(tmp_path / "parts")]) == 0
    assert_same(state(tmp_path / "parts", 3), state(tmp_path / "whole", 3))
    assert any("AJ" in row for row in read_log(tmp_path / "whole" / LOG))


@needs_torch
def test_one_framework_goes_on_where_the_other_stopped(tmp_path: Path) -> None:
    pytest.importorskip("optax", reason="needs optax: pip install '.[jax]'")
    config, runs = str(tiny_file(tmp_path)), str(tmp_path / "runs")
    assert main(["train", config, "--framework", "jax", "--steps", "2", "-o", runs, "--quiet"]) == 0
    assert main(["train", config, "--framework", "torch", "--steps", "3", "--resume", runs, "--quiet"]) == 0
    assert state(Path(runs), 3).updates == 3


@needs_torch
@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (["--steps", "0"], "a run of 0 steps is none"),
        (["--framework", "numpy"], "unknown framework 'numpy'; these exist: torch, jax"),
        (["--init", "nowhere.safetensors"], "nowhere.safetensors cannot be read"),
        (["--textures", "nowhere"], "no photographs"),
        (["--data", "nowhere"], "data: nowhere: no such file or folder"),
    ],
)
def test_what_cannot_be_is_said_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str], sentence: str
) -> None:
    config = str(tiny_file(tmp_path))
    assert main(["train", config, "-o", str(tmp_path / "run"), "--quiet", *more]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert sentence in error
    assert error.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_a_wrong_configuration_is_said_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", str(tiny_file(tmp_path, save_every=0))]) == 1
    assert capsys.readouterr().err.endswith("tiny.toml: save_every is 0; it must be at least 1\n")


@needs_torch
def test_a_new_run_does_not_go_on_with_an_old_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config, runs = str(tiny_file(tmp_path)), str(tmp_path / "runs")
    assert main(["train", config, "--steps", "1", "-o", runs, "--quiet"]) == 0
    assert main(["train", config, "--steps", "2", "-o", runs, "--quiet"]) == 1
    assert f"holds a run already; go on with it: --resume {runs}" in capsys.readouterr().err
    assert load_checkpoint(tmp_path / "runs" / CHECKPOINT).step == 1


@pytest.mark.parametrize("name, status", [("SIGINT", 130), ("SIGTERM", 143), ("SIGHUP", 129)])
@needs_torch
@needs_kill
def test_a_signal_ends_a_run_between_two_checkpoints(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, status: int
) -> None:
    """While the second one is written: the first one stays, and nothing else does."""
    saved: list[int] = []

    def send(file: BinaryIO, **arrays: NDArray[Any]) -> None:
        saved.append(int(arrays["step"]))
        if len(saved) == 2:
            os.kill(os.getpid(), getattr(signal, name))
        savez(file, **arrays)

    savez = np.savez
    monkeypatch.setattr(np, "savez", send)
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    try:
        config = str(tiny_file(tmp_path, save_every=1, workers=0))
        assert main(["train", config, "-o", str(tmp_path / "run"), "--quiet"]) == status
    finally:
        signal.signal(signal.SIGHUP, before)
    assert load_checkpoint(tmp_path / "run" / CHECKPOINT).step == saved[0]
    assert not [path.name for path in (tmp_path / "run").iterdir() if path.name.startswith(".")]


@needs_torch
@pytest.mark.parametrize(
    "arguments",
    [
        ["convert", "FILE", "--model", "tapir/boots", "-o", "SAME"],
        ["release", "FILE", "-o", "SAME"],
        ["evaluate", "--model", "FILE", "--json", "SAME"],
        ["evaluate", "--dataset", "FILE", "--json", "SAME"],
        ["evaluate", "--textures", "FOLDER", "--json", "PHOTO"],
        ["evaluate", "--model", "FILE", "--plot", "SAME"],
        ["compare", "mine=FILE", "-o", "SAME"],
        ["compare", "--model", "still", "--dataset", "FILE", "-o", "SAME"],
        ["pack", "--dataset", "FILE", "-o", "SAME"],
        ["paint", "--dataset", "FILE", "-o", "SAME"],
        ["masks", "FOLDER", "--model", "FILE", "--json", "SAME"],
        ["masks", "FOLDER", "--model", "still", "--json", "MASK"],
        ["calibrate", "--dataset", "FILE", "-o", "SAME"],
        ["calibrate", "--textures", "FOLDER", "-o", "PHOTO"],
        ["cluster", "FILE", "-o", "SAME"],
    ],
    ids=" ".join,
)
def test_no_output_replaces_an_input(tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    (tmp_path / "file.npz").write_bytes(b"weights")
    (tmp_path / "same.npz").symlink_to("file.npz")
    (tmp_path / "video").mkdir()
    (tmp_path / "photo.jpg").touch()
    (tmp_path / "video" / "0.png").touch()
    names = {"FILE": "file.npz", "SAME": "same.npz", "FOLDER": ".", "PHOTO": "photo.jpg", "MASK": "video/0.png"}
    assert main([re.sub(r"[A-Z]+$", lambda m: str(tmp_path / names[m[0]]), each) for each in arguments]) == 1
    assert "it would replace an input" in capsys.readouterr().err
    assert (tmp_path / "file.npz").read_bytes() == b"weights"
    assert (tmp_path / "same.npz").is_symlink()


@pytest.mark.parametrize(
    "arguments",
    [
        ["train", "c.toml", "-o", "URL"],
        ["train", "c.toml", "--resume", "URL"],
        ["convert", "URL", "--model", "M", "-o", "URL"],
        ["release", "URL", "-o", "URL"],
        ["evaluate", "--json", "URL", "--plot", "URL"],
        ["compare", "mine=a.npz", "-o", "URL"],
        ["masks", "folder", "--json", "URL"],
        ["calibrate", "-o", "URL"],
    ],
    ids=" ".join,
)
def test_a_place_may_be_a_url(arguments: list[str]) -> None:
    url = "gs://bucket/a.npz"
    found = _parser().parse_args([url if each == "URL" else each for each in arguments])
    assert [value for value in vars(found).values() if value == Url(url)] == [Url(url)] * arguments.count("URL")
