"""What reads files that come from elsewhere: right seeds, and the call that must take or refuse any spoilt one.

A surface is one row of SURFACES. To refuse is to raise `TapsdkError`; all else is a finding, and so is a crash, code
of the file that runs, or more than a surface's seconds.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

import tapsdk
from tapsdk.errors import TapsdkError
from tests.fuzz.mutators import (
    Mutator,
    spoil_boxes,
    spoil_bytes,
    spoil_json,
    spoil_npy,
    spoil_pickle,
    spoil_reply,
    spoil_safetensors,
    spoil_table,
    spoil_zip,
)
from tests.tapsdk.space.test_depth_maps import exr

RNG = np.random.default_rng(0)
FRAMES = RNG.integers(0, 255, (4, 48, 64, 3), np.uint8)


@dataclass(frozen=True)
class Surface:
    """Seeds are folders; in an input one of their files is spoilt, by the mutator of its suffix.

    make: writes files into an empty folder. read: takes such a folder. spoil: by suffix, which files, and how.
    """

    make: Callable[[Path], None]
    read: Callable[[Path], object]
    spoil: dict[str, tuple[Mutator, ...]]
    seconds: float = 20.0
    """An input that takes longer is a finding."""


def _tracks(folder: Path) -> None:
    times = np.arange(5) / 30
    xy = RNG.uniform(0, 50, (3, 5, 2)).astype(np.float32)
    queries = np.zeros((3, 3), np.float32)
    confidence = RNG.uniform(0, 1, (3, 5)).astype(np.float32)
    tracks = tapsdk.Tracks(xy, confidence > 0.5, confidence, times=times, queries=queries)
    for suffix in ("npz", "csv", "json"):
        tracks.save(folder / f"tracks.{suffix}")


def _load_tracks(folder: Path) -> None:
    for path in sorted(folder.iterdir()):
        tapsdk.Tracks.load(path)


def _spatial(folder: Path) -> None:
    xyz = RNG.uniform(1, 2, (2, 4, 3)).astype(np.float32)
    tracks = tapsdk.Tracks3D(xyz, np.ones((2, 4)), np.ones((2, 4)), times=np.arange(4) / 30, frame="world")
    tracks.save(folder / "tracks.npz")
    tracks.save(folder / "tracks.csv")


def _load_spatial(folder: Path) -> None:
    for path in sorted(folder.iterdir()):
        tapsdk.Tracks3D.load(path)


def _depth(folder: Path) -> None:
    depth = RNG.uniform(1, 3, (4, 12, 16)).astype(np.float32)
    np.save(folder / "depth.npy", depth)
    np.savez(folder / "depth.npz", depth=depth)
    (folder / "poses.txt").write_text("".join(f"{t} 0 0 {t} 0 0 0 1\n" for t in range(4)))
    (folder / "map.exr").write_bytes(exr({"Z": depth[0]}))


def _read_depth(folder: Path) -> None:
    from tapsdk.space.camera import parse_poses
    from tapsdk.space.depth_images import read_depth_image
    from tapsdk.space.depth_maps import open_depth
    from tapsdk.space.poses_file import read_poses

    read_depth_image(folder / "map.exr")
    for name in ("depth.npy", "depth.npz"):
        with open_depth(folder / name) as maps:
            list(maps)
    parse_poses(read_poses(folder / "poses.txt"), 4)


def _points(folder: Path) -> None:
    rows = RNG.uniform(0, 40, (4, 2)).astype(np.float32)
    np.save(folder / "points.npy", rows)
    (folder / "points.json").write_text(json.dumps([{"t": 0, "x": float(x), "y": float(y)} for x, y in rows]))
    (folder / "points.csv").write_text("t,x,y\n" + "\n".join(f"0,{x},{y}" for x, y in rows))


def _read_points(folder: Path) -> None:
    from tapsdk.points import parse_query_points, read_points_file

    for path in sorted(folder.iterdir()):
        parse_query_points(read_points_file(path), num_frames=4, frame_size=(48, 64))


def _jobs(folder: Path) -> None:
    rows = [{"video": "a.mp4", "points": "10,20;30,5"}, {"video": "b/c.mp4", "grid": "4x3", "output": "c.npz"}]
    (folder / "jobs.json").write_text(json.dumps(rows))
    (folder / "jobs.csv").write_text('video,points,grid,output\na.mp4,"10,20;30,5",,\nb/c.mp4,,4x3,c.npz\n')
    (folder / "jobs.txt").write_text("a.mp4\nb/c.mp4\n")


def _read_jobs(folder: Path) -> None:
    from tapsdk.batch.jobs import Defaults, read_jobs

    for path in sorted(folder.iterdir()):
        read_jobs(path, Defaults(str(folder / "tracks"), grid=3 if path.suffix == ".txt" else None))


def _orders(folder: Path) -> None:
    orders = [
        {"do": "add", "points": [[3, 4], [5.5, 6]], "frame": 17},
        {"do": "remove", "ids": [3]},
        {"do": "undo"},
    ]
    for number, order in enumerate(orders):
        (folder / f"{number}.json").write_text(json.dumps(order))


def _read_orders(folder: Path) -> None:
    from tapsdk.live.orders import read_order

    for path in sorted(folder.iterdir()):
        # As the server does it: whatever is no order is a ValueError.
        with contextlib.suppress(ValueError):
            read_order(path.read_bytes().decode(errors="replace"))


def _tracker(folder: Path) -> None:
    tracker = tapsdk.Tracker(backend="onnxruntime:native", threads=1)
    tracker.add([[10, 10], [30, 20]])
    tracker.step(FRAMES[0])
    tracker.step(FRAMES[1])
    tracker.save(folder / "tracker.npz")


def _load_tracker(folder: Path) -> None:
    tracker = tapsdk.Tracker.load(folder / "tracker.npz", backend="onnxruntime:native", threads=1)
    tracker.step(FRAMES[2])


def _features(folder: Path) -> None:
    tracker = tapsdk.Tracker(backend="onnxruntime:native", threads=1)
    tracker.features(FRAMES[0], [[10, 10], [30, 20]]).save(folder / "features.npz")


def _look_for(folder: Path) -> None:
    tracker = tapsdk.Tracker(backend="onnxruntime:native", threads=1)
    tracker.add(features=tapsdk.PointFeatures.load(folder / "features.npz"))
    tracker.step(FRAMES[1])


def _left(folder: Path) -> None:
    """What a run left that was killed."""
    from tapsdk.runtime.journal import Journal

    work = Journal(folder, {})
    for frame in FRAMES:
        work.saw(lambda frame=frame: frame)
        work.once(lambda frame=frame: {"frame": frame})
    work.keep({"state": FRAMES})
    work.close()


def _go_on(folder: Path) -> None:
    from tapsdk.runtime.journal import Journal

    with contextlib.closing(Journal(folder, {})) as work:
        for frame in FRAMES:
            work.saw(lambda frame=frame: frame)
            work.once(dict)


def _pictures(folder: Path) -> None:
    from PIL import Image

    for suffix in ("png", "jpg", "tiff", "webp", "bmp", "gif"):
        Image.fromarray(FRAMES[0]).save(folder / f"picture.{suffix}")


def _open_each(folder: Path) -> None:
    for path in sorted(folder.iterdir()):
        with tapsdk.open_frames(path) as frames:
            for _ in frames:
                pass


def _videos(folder: Path) -> None:
    for suffix in ("mp4", "mov", "mkv"):
        with tapsdk.VideoWriter(folder / f"video.{suffix}", 10, (48, 64)) as writer:
            for frame in FRAMES:
                writer.write(frame)


def _artifact(folder: Path) -> None:
    shutil.copytree(Path(tapsdk.__file__).parent / "models" / "tapir" / "tiny", folder, dirs_exist_ok=True)


def _run_artifact(folder: Path) -> None:
    model = tapsdk.load(folder, backend="onnxruntime:native", threads=1)
    tapsdk.track(FRAMES[:2], [[0, 10, 10], [0, 30, 20]], model)


def _checkpoints(folder: Path) -> None:
    import torch
    from safetensors.numpy import save_file

    arrays = {"a.weight": RNG.normal(size=(3, 2)).astype(np.float32), "b": np.zeros(3, np.float32)}
    np.save(folder / "weights.npy", np.array({"params": {"layer": arrays}}, object), allow_pickle=True)
    np.savez(folder / "weights.npz", **arrays)
    torch.save({name: torch.tensor(array) for name, array in arrays.items()}, folder / "weights.pt")
    save_file(arrays, folder / "weights.safetensors")


def _read_checkpoints(folder: Path) -> None:
    from training.checkpoints.formats import read_parameters

    for path in sorted(folder.iterdir()):
        read_parameters(path)


def _datasets(folder: Path) -> None:
    import pickle

    points = {"points": RNG.uniform(0, 1, (2, 4, 2)), "occluded": np.zeros((2, 4), bool)}
    (folder / "tapvid.pkl").write_bytes(pickle.dumps({"clip": {"video": FRAMES, **points}}))


def _read_datasets(folder: Path) -> None:
    from training.data.datasets import open_dataset

    for path in sorted(folder.iterdir()):
        list(open_dataset(str(path)))


def _tracks_3d(folder: Path) -> None:
    """Pictures as bytes of one length, and as objects."""
    from tests.training.data.scene3d import scene
    from training.data.readers.tapvid3d import PICTURES, write_tapvid3d

    write_tapvid3d(folder / "bytes.npz", scene())
    arrays = dict(np.load(folder / "bytes.npz"))
    arrays[PICTURES] = arrays[PICTURES].astype(object)
    np.savez(folder / "objects.npz", **arrays)


def _read_tracks_3d(folder: Path) -> None:
    from training.data.readers.tapvid3d import read_tapvid3d

    for path in sorted(folder.iterdir()):
        read_tapvid3d(path)


def _joints(folder: Path) -> None:
    """The parts of JHMDB with one video, side by side."""
    from PIL import Image
    from scipy.io import savemat

    for compressed in (False, True):
        savemat(folder / f"{compressed}.mat", {"pos_img": RNG.uniform(1, 47, (2, 15, 3))}, do_compression=compressed)
    Image.fromarray(FRAMES[0]).save(folder / "frame.png")
    (folder / "walk_test_split1.txt").write_text("".join(f"{each}.avi 2\n" for each in (False, True)))


def _read_joints(folder: Path) -> None:
    from training.data.datasets import open_dataset

    with TemporaryDirectory() as place:
        (Path(place) / "splits").mkdir()
        shutil.copy(folder / "walk_test_split1.txt", Path(place) / "splits")
        for name in ("False", "True"):
            for part, source, file in (
                ("joint_positions", f"{name}.mat", "joint_positions.mat"),
                ("Rename_Images", "frame.png", "00001.png"),
            ):
                (Path(place) / part / "walk" / name).mkdir(parents=True)
                shutil.copy(folder / source, Path(place) / part / "walk" / name / file)
        list(open_dataset("jhmdb", Path(place)))


def _replies(folder: Path) -> None:
    """A whole file in one answer; and one that breaks off, with the answer to who asks for the rest."""
    content = bytes(range(256)) * 40
    first = b'HTTP/1.1 200 OK\r\nContent-Length: %d\r\nETag: "a"\r\n\r\n' % len(content)
    rest = b'HTTP/1.1 206 Partial Content\r\nContent-Length: %d\r\nContent-Range: bytes %d-%d/%d\r\nETag: "a"\r\n\r\n'
    half = len(content) // 2
    (folder / "whole.http").write_bytes(first + content)
    (folder / "broken-1.http").write_bytes(first + content[:half])
    head = rest % (len(content) - half, half, len(content) - 1, len(content))
    (folder / "broken-2.http").write_bytes(head + content[half:])


def _fetch_each(folder: Path) -> None:
    from tapsdk.artifact import download
    from tapsdk.artifact.fetch import fetch

    download.BACKOFF_SECONDS, download.TIMEOUT_SECONDS = (0.0, 0.0), 2.0
    for names in (["whole.http"], ["broken-1.http", "broken-2.http"]):
        with answering([(folder / name).read_bytes() for name in names]) as url, TemporaryDirectory() as cache:
            with contextlib.suppress(TapsdkError):
                fetch("tapir/base", directory=cache, url=url)
            left = sum(path.stat().st_size for path in Path(cache).rglob("*") if path.is_file())
            if left > MOST_FETCHED:
                raise AssertionError(f"{left} bytes were kept")


MOST_FETCHED = 1 << 20


@contextlib.contextmanager
def answering(replies: list[bytes]) -> Iterator[str]:
    """A server that gives these bytes to one connection after the other, the last of them again and again."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.1)
        done = threading.Event()

        def serve() -> None:
            count = 0
            while not done.is_set():
                with contextlib.suppress(OSError):
                    connection, _ = listener.accept()
                    with connection:
                        connection.settimeout(1)
                        connection.recv(65536)
                        connection.sendall(replies[min(count, len(replies) - 1)])
                        count += 1

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}/weights.npy"
        finally:
            done.set()
            thread.join()


_ZIP = (spoil_zip, spoil_bytes)

SURFACES = {
    "tracks": Surface(
        _tracks, _load_tracks, {".npz": _ZIP, ".csv": (spoil_table, spoil_bytes), ".json": (spoil_json,)}
    ),
    "spatial": Surface(_spatial, _load_spatial, {".npz": _ZIP, ".csv": (spoil_table, spoil_bytes)}),
    "depth": Surface(
        _depth,
        _read_depth,
        {".npy": (spoil_npy,), ".npz": _ZIP, ".exr": (spoil_bytes,), ".txt": (spoil_table, spoil_bytes)},
    ),
    "points": Surface(_points, _read_points, {".npy": (spoil_npy,), ".csv": (spoil_table,), ".json": (spoil_json,)}),
    "jobs": Surface(
        _jobs,
        _read_jobs,
        {".json": (spoil_json, spoil_bytes), ".csv": (spoil_table, spoil_bytes), ".txt": (spoil_bytes,)},
    ),
    "orders": Surface(_orders, _read_orders, {".json": (spoil_json, spoil_bytes)}),
    "tracker": Surface(_tracker, _load_tracker, {".npz": _ZIP}),
    "features": Surface(_features, _look_for, {".npz": _ZIP}),
    "resume": Surface(_left, _go_on, {".npz": _ZIP, "": (spoil_bytes,)}),
    "pictures": Surface(
        _pictures, _open_each, dict.fromkeys((".png", ".jpg", ".tiff", ".webp", ".bmp", ".gif"), (spoil_bytes,))
    ),
    "videos": Surface(
        _videos, _open_each, {".mp4": (spoil_boxes, spoil_bytes), ".mov": (spoil_boxes,), ".mkv": (spoil_bytes,)}
    ),
    "manifest": Surface(_artifact, _run_artifact, {".json": (spoil_json, spoil_bytes)}),
    "stages": Surface(_artifact, _run_artifact, {".onnx": (spoil_bytes,), ".safetensors": (spoil_safetensors,)}),
    "checkpoints": Surface(
        _checkpoints,
        _read_checkpoints,
        {
            ".npy": (spoil_npy, spoil_pickle),
            ".npz": _ZIP,
            ".pt": (partial(spoil_zip, member=spoil_pickle),),
            ".safetensors": (spoil_safetensors,),
        },
    ),
    "replies": Surface(_replies, _fetch_each, {".http": (spoil_reply, spoil_bytes)}),
    "datasets": Surface(_datasets, _read_datasets, {".pkl": (spoil_pickle,)}),
    "tracks3d": Surface(_tracks_3d, _read_tracks_3d, {".npz": (*_ZIP, partial(spoil_zip, member=spoil_pickle))}),
    "joints": Surface(_joints, _read_joints, {".mat": (spoil_bytes,), ".txt": (spoil_bytes,)}),
}
