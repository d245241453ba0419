"""The result of tracking, and its three file formats."""

from __future__ import annotations

import csv
import io
import json
import os
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from tapsdk.errors import SaveError, TracksError
from tapsdk.system.files import AtomicFile, is_special_file

FORMAT = "tapsdk.tracks"
VERSION = 1
CSV_COLUMNS = ["point", "frame", "x", "y", "visible", "confidence"]


@dataclass(frozen=True)
class RunReport:
    """What ran to make the tracks, and what did not and why."""

    model: str = ""
    backend: str = ""
    path: str = ""
    precision: str = ""
    frames_per_second: float | None = None
    milliseconds: Mapping[str, float] = field(default_factory=dict)
    """Per frame, of each backend:plan that was measured to choose between them."""
    refused: Mapping[str, str] = field(default_factory=dict)
    """Backends and backend:plans that could not run, with the reason."""


@dataclass(frozen=True, eq=False)
class Tracks:
    """Where N points are in each of T frames.

    xy: [N, T, 2] float32, pixels, (0, 0) = outer corner of the top-left pixel.
    visible: [N, T] bool. confidence: [N, T] float32 in [0, 1], that the point is there and seen.
    queries: [N, 3] float32 (t, x, y), what was asked for. fps: frames per second of the video.
    """

    xy: NDArray[np.float32]
    visible: NDArray[np.bool_]
    confidence: NDArray[np.float32]
    queries: NDArray[np.float32] | None = None
    fps: float | None = None
    report: RunReport | None = None

    def __post_init__(self) -> None:
        xy = np.asarray(self.xy, dtype=np.float32)
        if xy.ndim != 3 or xy.shape[2] != 2:
            raise TracksError(f"xy must have shape [N, T, 2], got {list(xy.shape)}")
        checked = {
            "xy": xy,
            "visible": _as_shape("visible", self.visible, np.bool_, xy.shape[:2]),
            "confidence": _as_shape("confidence", self.confidence, np.float32, xy.shape[:2]),
        }
        if self.queries is not None:
            checked["queries"] = _as_shape("queries", self.queries, np.float32, (len(xy), 3))
        for name, array in checked.items():
            object.__setattr__(self, name, array)

    def __len__(self) -> int:
        return len(self.xy)

    @property
    def num_frames(self) -> int:
        return int(self.xy.shape[1])

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a .npz, .csv or .json file; `load` gives back the same xy, visible and confidence.

        npz and json also hold queries, fps and report; csv is one row per point and frame and holds nothing
        else, not even T where N = 0. JSON has neither NaN nor infinity: both become null, which loads as NaN.
        A device or a pipe without one of the suffixes gets JSON. The file appears whole or not at all.

        Raises SaveError.
        """
        write, _ = _FORMATS[_save_suffix(path)]
        with AtomicFile(path) as file:
            write(self, file)

    @staticmethod
    def load(path: str | os.PathLike[str]) -> Tracks:
        """Read a file that `save` wrote; raises TracksError if it is missing, damaged or of another kind."""
        suffix = Path(path).suffix.lower()
        if suffix not in _FORMATS:
            raise TracksError(f"could not read {path}: the suffix must be one of {', '.join(_FORMATS)}")
        _, read = _FORMATS[suffix]
        try:
            with open(path, "rb") as file:
                return read(file)
        except OSError as error:
            raise TracksError(f"could not read {path}: {error.strerror or error}") from error
        except _DAMAGE as error:
            raise TracksError(f"could not read {path}: not a tracks file, or damaged ({error})") from error


def check_save_path(path: str | os.PathLike[str]) -> None:
    """Raise SaveError if `Tracks.save` cannot write there, before the work is done. Leaves nothing behind."""
    _save_suffix(path)
    if not is_special_file(path):
        AtomicFile(path).discard()


def _save_suffix(path: str | os.PathLike[str]) -> str:
    suffix = Path(path).suffix.lower()
    if suffix not in _FORMATS and is_special_file(path):
        return ".json"
    if suffix not in _FORMATS:
        raise SaveError(f"could not write {path}: the suffix must be one of {', '.join(_FORMATS)}")
    return suffix


# What a damaged or foreign file makes the readers raise; ValueError covers TracksError, json and text.
_DAMAGE = (
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    EOFError,
    OverflowError,
    csv.Error,
    zipfile.BadZipFile,
    zlib.error,
)


def _as_shape(name: str, value: Any, dtype: type[np.generic], shape: tuple[int, ...]) -> NDArray[Any]:
    array = np.asarray(value, dtype=dtype)
    if array.shape != shape:
        raise TracksError(f"{name} must have shape {list(shape)} to fit xy, got {list(array.shape)}")
    return array


def _short_floats(array: NDArray[np.float32]) -> list[str]:
    """Each value, in order, as the shortest decimal that reads back as the same float32."""
    return [str(value) for value in array.ravel()]


def _check_tag(kind: Any, version: Any) -> None:
    if kind != FORMAT:
        raise TracksError(f"the format is {kind!r}, not {FORMAT!r}")
    if version != VERSION:
        raise TracksError(f"the format has version {version!r}; this tapsdk reads version {VERSION}")


def _report_from(values: dict[str, Any] | None) -> RunReport | None:
    """The fields that this version knows; a later one may have more."""
    if values is None:
        return None
    known = {field.name for field in fields(RunReport)}
    return RunReport(**{name: value for name, value in values.items() if name in known})


def _write_npz(tracks: Tracks, file: BinaryIO) -> None:
    arrays: dict[str, Any] = {"xy": tracks.xy, "visible": tracks.visible, "confidence": tracks.confidence}
    if tracks.queries is not None:
        arrays["queries"] = tracks.queries
    if tracks.fps is not None:
        arrays["fps"] = np.float64(tracks.fps)
    if tracks.report is not None:
        arrays["report"] = np.str_(json.dumps(asdict(tracks.report)))
    # By way of memory: numpy leaves its archive open when writing to a file fails.
    archive = io.BytesIO()
    np.savez_compressed(archive, format=np.str_(FORMAT), version=np.int64(VERSION), **arrays)
    file.write(archive.getbuffer())


def _read_npz(file: BinaryIO) -> Tracks:
    with np.load(file, allow_pickle=False) as stored:
        _check_tag(str(stored["format"]), int(stored["version"]))
        return Tracks(
            xy=stored["xy"],
            visible=stored["visible"],
            confidence=stored["confidence"],
            queries=stored.get("queries"),
            fps=float(stored["fps"]) if "fps" in stored else None,
            report=_report_from(json.loads(str(stored["report"])) if "report" in stored else None),
        )


def _write_csv(tracks: Tracks, file: BinaryIO) -> None:
    file.write((",".join(CSV_COLUMNS) + "\n").encode("ascii"))
    for point in range(len(tracks)):
        columns = zip(
            _short_floats(tracks.xy[point, :, 0]),
            _short_floats(tracks.xy[point, :, 1]),
            tracks.visible[point].astype(int).tolist(),
            _short_floats(tracks.confidence[point]),
            strict=True,
        )
        lines = [f"{point},{frame},{','.join(map(str, values))}\n" for frame, values in enumerate(columns)]
        file.write("".join(lines).encode("ascii"))


def _read_csv(file: BinaryIO) -> Tracks:
    reader = csv.reader(file.read().decode("ascii").splitlines())
    header = next(reader, [])
    if header != CSV_COLUMNS:
        raise TracksError(f"the first line must be {','.join(CSV_COLUMNS)}")
    rows = [row for row in reader if row]
    if any(len(row) != len(CSV_COLUMNS) for row in rows):
        raise TracksError(f"every line must have {len(CSV_COLUMNS)} columns")
    point = np.array([int(row[0]) for row in rows], dtype=np.int64)
    frame = np.array([int(row[1]) for row in rows], dtype=np.int64)
    shape = (int(point.max(initial=-1)) + 1, int(frame.max(initial=-1)) + 1)
    cells = set(zip(point.tolist(), frame.tolist(), strict=True))
    negative = min(point.min(initial=0), frame.min(initial=0)) < 0
    if negative or len(cells) != len(rows) or shape[0] * shape[1] != len(rows):
        raise TracksError("every point must have one line for every frame")
    if any(row[4] not in ("0", "1") for row in rows):
        raise TracksError("visible must be 0 or 1")
    xy = np.zeros((*shape, 2), dtype=np.float32)
    visible = np.zeros(shape, dtype=np.bool_)
    confidence = np.zeros(shape, dtype=np.float32)
    xy[point, frame] = np.array([(float(row[2]), float(row[3])) for row in rows]).reshape(-1, 2)
    visible[point, frame] = [row[4] == "1" for row in rows]
    confidence[point, frame] = [float(row[5]) for row in rows]
    return Tracks(xy=xy, visible=visible, confidence=confidence)


def _to_json(array: NDArray[np.float32]) -> Any:
    """Nested lists whose numbers print as short as float32 allows; null for what JSON lacks."""
    flat = [float(text) for text in _short_floats(array)]
    values = np.array([value if np.isfinite(value) else None for value in flat], dtype=object)
    return values.reshape(array.shape).tolist()


def _from_json(values: Any, shape: tuple[int, ...]) -> NDArray[np.float32]:
    array = np.array(values, dtype=np.float32)
    return array.reshape(shape) if array.size == 0 else array


def _write_json(tracks: Tracks, file: BinaryIO) -> None:
    document = {
        "format": FORMAT,
        "version": VERSION,
        "num_frames": tracks.num_frames,
        "fps": tracks.fps,
        "report": None if tracks.report is None else asdict(tracks.report),
        "queries": None if tracks.queries is None else _to_json(tracks.queries),
        "tracks": [
            {
                "xy": _to_json(tracks.xy[point]),
                "visible": tracks.visible[point].tolist(),
                "confidence": _to_json(tracks.confidence[point]),
            }
            for point in range(len(tracks))
        ],
    }
    file.write(json.dumps(document, allow_nan=False).encode("ascii"))
    file.write(b"\n")


def _read_json(file: BinaryIO) -> Tracks:
    document = json.load(file)
    if not isinstance(document, dict):
        raise TracksError("the document is not a JSON object")
    _check_tag(document.get("format"), document.get("version"))
    tracks, frames = document["tracks"], int(document["num_frames"])
    queries = document.get("queries")
    return Tracks(
        xy=_from_json([track["xy"] for track in tracks], (len(tracks), frames, 2)),
        visible=np.array([track["visible"] for track in tracks], dtype=np.bool_).reshape(len(tracks), frames),
        confidence=_from_json([track["confidence"] for track in tracks], (len(tracks), frames)),
        queries=None if queries is None else _from_json(queries, (len(tracks), 3)),
        fps=document.get("fps"),
        report=_report_from(document.get("report")),
    )


_FORMATS: dict[str, tuple[Callable[[Tracks, BinaryIO], None], Callable[[BinaryIO], Tracks]]] = {
    ".npz": (_write_npz, _read_npz),
    ".csv": (_write_csv, _read_csv),
    ".json": (_write_json, _read_json),
}
