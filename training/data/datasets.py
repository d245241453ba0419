"""Videos with true tracks, by the name of the dataset or the folder that it is in."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tapsdk.geometry import Size, scale_points
from tapsdk.system.leftovers import temporary_folder
from training.data.errors import DatasetError
from training.data.images import stack_frames
from training.data.labelled_video import LabelledVideo
from training.data.readers.badja import TRACKS, read_badja
from training.data.readers.davis_full import FULL_RESOLUTION, read_davis_full
from training.data.readers.jhmdb import FOLDERS, read_jhmdb
from training.data.readers.kubric import KubricVideos, read_kubric
from training.data.readers.tapvid import read_tapvid
from training.data.readers.tapvid3d import SOURCES, read_videos
from training.data.readers.tapvid_csv import read_tapvid_csv
from training.data.training_videos import ClipShape, TrainingVideos, unpack

if TYPE_CHECKING:
    from training.data.synthetic import SceneConfig

PUBLISHED_SIZE = (256, 256)
"""(height, width) of the videos of TAP-Vid: numbers for other sizes are another category, its authors say."""


TAPVID = "tapvid"
"""The benchmark that all are scored by which have none of their own."""


def synthetic(name: str, textures: Path | None, size: Size | None = None, videos: int = 30) -> Iterator[LabelledVideo]:
    """Generated clips at 256x256 with fixed seeds, on photographs that training leaves out. name: one of GENERATED."""
    from training.data.synthetic import held_out

    config = replace(_scenes(name), textures=str(textures) if textures else None)
    for index, clip in enumerate(held_out(config, videos)):
        frames = stack_frames(clip.frames, size, "the clip")
        xy = scale_points(clip.xy, (config.height, config.width), frames.shape[1:3])
        yield LabelledVideo(frames, xy, clip.visible, name=f"{name}-{index:03d}")


def _scenes(name: str) -> SceneConfig:
    from training.data.synthetic import SceneConfig

    return SceneConfig(**{"height": 256, "width": 256, "frames": 24, "points": 64, "query": "first", **GENERATED[name]})


@dataclass(frozen=True)
class Dataset:
    """How a kind of dataset is read."""

    read: Callable[[Path, Size | None], Iterator[LabelledVideo]]
    """Of its file or folder, and the (height, width) to resize videos to, None to leave them."""
    files: str
    """What it consists of, for the reader of an error."""
    size: Size | None = None
    """(height, width) that the benchmark demands; None where it takes videos as they are."""
    benchmark: str = TAPVID
    """How it is scored, as `training.evaluation.scorers` names it."""
    by_number: Callable[[Path], TrainingVideos] | None = None
    """Opens what is too much to be unpacked before training; None where it is not."""


def _tapvid(files: str) -> Dataset:
    return Dataset(read_tapvid, files, PUBLISHED_SIZE)


DATASETS = {
    "davis": _tapvid("tapvid_davis.pkl, from storage.googleapis.com/dm-tapnet/tapvid_davis.zip"),
    "rgb-stacking": _tapvid("tapvid_rgb_stacking.pkl, from storage.googleapis.com/dm-tapnet/tapvid_rgb_stacking.zip"),
    "kinetics": _tapvid("0000_of_0010.pkl and so on, which TAP-Vid's generate_tapvid.py makes"),
    "robotap": _tapvid("robotap_split0.pkl and so on, from storage.googleapis.com/dm-tapnet/robotap/robotap.zip"),
    "davis-full": Dataset(read_davis_full, f"tapvid_davis.pkl, and in a folder beside it DAVIS's {FULL_RESOLUTION}"),
    "csv": Dataset(read_tapvid_csv, "a table in TAP-Vid's CSV form, its videos beside it", PUBLISHED_SIZE),
    "jhmdb": Dataset(read_jhmdb, f"a folder with {', '.join(FOLDERS)} of JHMDB", PUBLISHED_SIZE, "pck"),
    "kubric": Dataset(read_kubric, "TFRecords of a MOVi dataset of Kubric", PUBLISHED_SIZE, by_number=KubricVideos),
    "badja": Dataset(read_badja, f"a folder for each video, with *.jpg and {TRACKS}"),
    "tapvid3d": Dataset(read_videos, f"TAPVid-3D's .npz files, or a folder with {', '.join(SOURCES)} with them"),
}
"""By name; each needs its files. `SYNTHETIC` needs none."""

SYNTHETIC = "synthetic"
_FIGURES = {"creatures": 1.0, "solid": 1.0, "layers": (1, 4), "foreground": 0.8}

GENERATED: dict[str, dict[str, Any]] = {
    SYNTHETIC: {},
    "returns": {"frames": 48, "query": "frame0", "scenes": {"returns": 1.0}, "foreground": 0.3},
    "figures": {**_FIGURES, "figures": {"animal": 0.6, "person": 0.3, "thing": 0.1}},
    "hands": {**_FIGURES, "figures": {"hand": 1.0}},
    "bare": {"bare": 0.7, "shadows": 1.0},
    "blur": {"motion": 2.0, "motion_blur": 1.0},
    "dim": {"dim": 1.0},
    "compressed": {"jpeg": 1.0, "jpeg_quality": (8, 25)},
    "rolling": {"rolling": 1.0},
}
"""Clips that are generated, as overrides of SceneConfig: objects that move freely; points that are gone for long and
return; animals and people that turn, bend and walk; hands; surfaces without texture, with shadows; fast motion that
blurs; too little light; compression that shows; a camera that turns about its line of sight."""

MARKS = (
    (FULL_RESOLUTION, "davis-full"),
    (f"*/{FULL_RESOLUTION}", "davis-full"),
    ("*.pkl", "davis"),
    ("*.tfrecord*", "kubric"),
    (TRACKS, "badja"),
    (f"*/{TRACKS}", "badja"),
    (f"{FOLDERS[0]}/*_split1.txt", "jhmdb"),
    ("*.csv", "csv"),
    *((f"{source}/*.npz", "tapvid3d") for source in SOURCES),
    ("*.npz", "tapvid3d"),
)
"""What a folder has in it, and as which dataset it is then read; the first that fits. All pickles are read alike."""


def open_dataset(
    name: str, data: Path | None = None, size: Size | Literal["published"] | None = "published"
) -> Iterator[LabelledVideo]:
    """The videos of a dataset, one at a time. Raises DatasetError.

    name: one of GENERATED, a name in DATASETS, or a file or folder, which is recognised by what is in it.
    data: where the files of a named dataset are; for generated clips photographs, or None.
    size: (height, width) to resize videos to; None leaves them as they are, "published" is what the benchmark demands.
    """
    if name in GENERATED:
        return synthetic(name, data, None if size == "published" else size)
    name, path = locate(name, data)
    dataset = DATASETS[name]
    return dataset.read(path, dataset.size if size == "published" else size)


def locate(name: str, data: Path | None) -> tuple[str, Path]:
    """The name in DATASETS and the path of what `open_dataset` is given that is not generated. Raises DatasetError."""
    if name in DATASETS:
        if data is None:
            raise DatasetError(f"the dataset {name!r} needs its files, --data PATH: {DATASETS[name].files}")
        if not data.exists():
            raise DatasetError(f"{data}: no such file or folder; {name!r} is {DATASETS[name].files}")
        return name, data
    if Path(name).exists():
        return recognise(Path(name)), Path(name)
    allowed = ", ".join([*GENERATED, *DATASETS])
    raise DatasetError(f"unknown dataset {name!r}; use one of {allowed}, or a file or folder with a dataset")


@contextmanager
def training_videos(path: Path, shape: ClipShape) -> Iterator[TrainingVideos]:
    """Videos of any of DATASETS to train on, recognised by what is in a file or folder. Raises DatasetError, SaveError.

    shape: the longest and largest of the clips that are wanted.
    """
    dataset = DATASETS[recognise(path)]
    if dataset.by_number is not None:
        yield dataset.by_number(path)
        return
    with temporary_folder() as folder:
        yield unpack(dataset.read(path, None), shape, folder)


def recognise(path: Path) -> str:
    """The name in DATASETS of what is in a file or folder. Raises DatasetError."""
    if not path.exists():
        raise DatasetError(f"{path}: no such file or folder")
    for pattern, name in MARKS:
        if path.match(pattern) if path.is_file() else next(path.glob(pattern), None):
            return name
    kinds = "".join(f"\n  {name}: {dataset.files}" for name, dataset in DATASETS.items())
    raise DatasetError(f"{path} holds no dataset that is known here. Known are:{kinds}")


def benchmark_of(name: str) -> str:
    """How a dataset is scored, by what `open_dataset` knows it as; as TAP-Vid where it knows none."""
    if name not in DATASETS and name not in GENERATED and Path(name).exists():
        name = recognise(Path(name))
    return DATASETS[name].benchmark if name in DATASETS else TAPVID
