"""Results that are saved to a URL: there whole, or kept on this machine and named."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import tapsdk
from tapsdk.commands.main import main
from tapsdk.errors import SaveError, TracksError
from tapsdk.system import remote
from tapsdk.system.files import AtomicFile
from tapsdk.system.places import Url
from tests.stores import BUCKET, Front, contents, new_folder_in, refuses_writes, unavailable


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TAPSDK_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "remote"


@pytest.fixture
def tracks() -> tapsdk.Tracks:
    xy = np.arange(12, dtype=np.float32).reshape(2, 3, 2)
    return tapsdk.Tracks(xy, np.ones((2, 3), np.bool_), np.full((2, 3), 0.5, np.float32))


# One file


def test_a_file_is_there_when_it_is_complete(stored: Url, cache: Path) -> None:
    with AtomicFile(stored / "a") as file:
        file.write(b"half")
        assert remote.kind((stored / "a").text) is None
        file.write(b" and half")
    assert contents(stored) == {"a": b"half and half"}
    assert not any(cache.iterdir())


def test_what_fails_before_that_is_nowhere(in_memory: Url, cache: Path) -> None:
    with pytest.raises(ZeroDivisionError), AtomicFile(in_memory / "a") as file:
        file.write(b"half")
        raise ZeroDivisionError
    assert not in_memory.exists()
    assert not any(cache.iterdir())


@pytest.mark.parametrize(
    "fault, message", [(unavailable, "the server answered 503"), (refuses_writes, "nobody may write here")]
)
def test_what_cannot_be_sent_is_kept_and_named(front: Front, cache: Path, fault: object, message: str) -> None:
    url = new_folder_in(f"gs://{BUCKET}") / "a.npz"
    front.fault = fault
    with pytest.raises(SaveError, match=f"^could not write {url}: .*{message}") as caught, AtomicFile(url) as file:
        file.write(b"all of it")
    (kept,) = cache.iterdir()
    assert str(caught.value).endswith(f"; what was to go there is kept as {kept}")
    assert kept.read_bytes() == b"all of it"
    front.fault = lambda request: False
    assert not url.exists()


def test_ctrl_c_while_it_is_sent_keeps_it(
    in_memory: Url, cache: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def interrupted(path: Path, url: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(remote, "upload", interrupted)
    with pytest.raises(KeyboardInterrupt), AtomicFile(in_memory / "a") as file:
        file.write(b"all of it")
    (kept,) = cache.iterdir()
    assert kept.read_bytes() == b"all of it"
    assert str(kept) in caplog.text


@pytest.mark.parametrize("url", ["nix://b/a.npz", "https://127.0.0.1/a.npz"])
def test_what_can_never_be_written_is_known_before_the_work(url: str) -> None:
    with pytest.raises(SaveError, match=f"could not write {url}: "):
        AtomicFile(url)


# Tracks and trackers


@pytest.mark.parametrize("name", ["a.npz", "a.csv", "a.json"])
def test_tracks_are_saved_and_loaded(in_memory: Url, tracks: tapsdk.Tracks, name: str) -> None:
    tracks.save(f"{in_memory}/{name}")
    assert np.array_equal(tapsdk.Tracks.load(f"{in_memory}/{name}").xy, tracks.xy)


def test_tracks_that_are_none_are_named_by_their_url(in_memory: Url, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"no tracks")
    remote.upload(tmp_path / "a", f"{in_memory}/a.npz")
    with pytest.raises(TracksError, match=f"^{in_memory}/a.npz is not a tracks file, or is damaged: "):
        tapsdk.Tracks.load(f"{in_memory}/a.npz")
    with pytest.raises(TracksError, match=f"^{in_memory}/b.npz cannot be read: there is no such file$"):
        tapsdk.Tracks.load(f"{in_memory}/b.npz")


def test_a_tracker_goes_on_from_a_store(in_memory: Url, video: NDArray[np.uint8]) -> None:
    tracker = tapsdk.Tracker(backend="onnxruntime:fused")
    tracker.add([[10, 10]])
    tracker.step(video[0])
    tracker.save(f"{in_memory}/t.npz")
    loaded = tapsdk.Tracker.load(f"{in_memory}/t.npz", backend="onnxruntime:fused")
    assert np.array_equal(loaded.step(video[1]).xy, tracker.step(video[1]).xy)


# The command


def run(video_file: Path, *options: object) -> int:
    command = ["track", video_file, "--points", "10,10", "--backend", "onnxruntime:fused", "--quiet", *options]
    return main([str(each) for each in command])


def test_the_command_saves_and_draws_there_and_takes_points_from_there(
    in_memory: Url, video_file: Path, tmp_path: Path
) -> None:
    (tmp_path / "points.csv").write_text("10,10\n")
    remote.upload(tmp_path / "points.csv", f"{in_memory}/points.csv")
    command = ["track", str(video_file), "--points-file", f"{in_memory}/points.csv", "--backend", "onnxruntime:fused"]
    assert main([*command, "--quiet", "-o", f"{in_memory}/out.mp4", "--save", f"{in_memory}/t.npz"]) == 0
    assert sorted(contents(in_memory)) == ["out.mp4", "points.csv", "t.npz"]
    assert tapsdk.Tracks.load(f"{in_memory}/t.npz").num_frames == 6


def test_an_older_video_of_other_tracks_goes(in_memory: Url, tracks: tapsdk.Tracks, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"older")
    remote.upload(tmp_path / "a", f"{in_memory}/out.mp4")
    tracks.save(f"{in_memory}/t.npz", outdates=f"{in_memory}/out.mp4")
    assert sorted(contents(in_memory)) == ["t.npz"]


def test_no_output_replaces_an_input_in_a_store(in_memory: Url, video_file: Path, capsys) -> None:
    same = f"{in_memory}/points.csv"
    command = ["track", str(video_file), "--points-file", same, "--save", same]
    assert main(command) == 1
    assert "it would replace an input" in capsys.readouterr().err


def test_tracks_that_cannot_be_sent_are_kept_and_the_command_says_where(
    front: Front, cache: Path, video_file: Path, capsys
) -> None:
    front.fault = refuses_writes
    assert run(video_file, "--save", f"gs://{BUCKET}/t.npz") == 1
    error, start = capsys.readouterr().err, f"error: could not write gs://{BUCKET}/t.npz: "
    found = re.fullmatch(rf"{start}.*nobody may write here.*; what was to go there is kept as (.*)\n", error)
    assert found, error
    assert tapsdk.Tracks.load(found[1]).num_frames == 6


def test_a_video_that_cannot_be_sent_leaves_the_tracks_in_the_working_folder(
    front: Front, cache: Path, video_file: Path, tmp_path: Path, monkeypatch, capsys
) -> None:
    monkeypatch.chdir(tmp_path)
    front.fault = refuses_writes
    assert run(video_file, "-o", f"gs://{BUCKET}/out.mp4") == 1
    assert tapsdk.Tracks.load("out.npz").num_frames == 6
    assert "the tracks are saved as out.npz" in capsys.readouterr().err
