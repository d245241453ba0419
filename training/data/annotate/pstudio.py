"""Panoptic Studio's pictures, from the archive of Dynamic 3D Gaussians (Luiten et al. 2023).

They are put in as they are; the published script decodes and compresses them once more.
"""

from __future__ import annotations

import os
import re
import zipfile
from pathlib import Path, PurePosixPath

from tapsdk.system.places import Url
from tapsdk.system.reading import reading
from training.data.annotate.making import Arrays, SourceFolder, fetch_part
from training.data.errors import DatasetError
from training.data.images import natural_order

URL = "https://omnomnom.vision.rwth-aachen.de/data/Dynamic3DGaussians/data.zip"
MOST_BYTES = 1 << 26
"""Of a picture."""
PICTURE = re.compile(r"(?:.*/)?([^/]+)/ims/([^/]+)/[^/]+\.jpg")


class PstudioPictures:
    """SEQUENCE/ims/CAMERA/*.jpg for a video SEQUENCE_CAMERA, in a .zip or in a folder with what was in it."""

    def __init__(self, path: Path) -> None:
        """Raises DatasetError."""
        self.path = path
        self._names: dict[str, list[str]] = {}
        for name in self._listed():
            match = PICTURE.fullmatch(name)
            if match:
                self._names.setdefault(f"{match[1]}_{match[2]}", []).append(name)
        if not self._names:
            raise DatasetError(f"{path} holds no pictures SEQUENCE/ims/CAMERA/*.jpg")

    def has(self, name: str) -> bool:
        return name in self._names

    def put_in(self, name: str, arrays: Arrays) -> tuple[Arrays, list[bytes]]:
        pictures = sorted(self._names[name], key=lambda path: natural_order(PurePosixPath(path)))
        if len(pictures) != len(arrays["tracks_XYZ"]):
            raise DatasetError(
                f"{self.path} has {len(pictures)} pictures of {name}, its tracks {len(arrays['tracks_XYZ'])} frames"
            )
        with reading(self.path, "cannot be read", DatasetError):
            if self.path.is_dir():
                return arrays, [_whole((self.path / picture).read_bytes(), picture) for picture in pictures]
            with zipfile.ZipFile(self.path) as archive:
                return arrays, [_from(archive, picture) for picture in pictures]

    def _listed(self) -> list[str]:
        with reading(self.path, "is no .zip and no folder of pictures", DatasetError):
            if self.path.is_dir():
                return [path.relative_to(self.path).as_posix() for path in self.path.rglob("*.jpg")]
            with zipfile.ZipFile(self.path) as archive:
                return archive.namelist()


def pstudio_pictures(folder: SourceFolder, given: Path | Url | None) -> PstudioPictures:
    """Those at a path, or in an archive of this URL, by default the published one, which is fetched unless it is there.

    Raises DatasetError, FetchError.
    """
    if isinstance(given, Path):
        if not given.exists():
            raise DatasetError(
                f"{given}: no such file or folder; it must be data.zip of Dynamic 3D Gaussians, or its data"
            )
        return PstudioPictures(given)
    path = folder.downloads / "data.zip"
    with folder.held():
        if not path.exists():
            part = fetch_part(URL if given is None else given.text, path)
            if not zipfile.is_zipfile(part):
                part.unlink()
                raise DatasetError(f"{given or URL} is no .zip")
            os.replace(part, path)
    return PstudioPictures(path)


def _from(archive: zipfile.ZipFile, name: str) -> bytes:
    if archive.getinfo(name).file_size > MOST_BYTES:
        raise ValueError(f"{name} has more than {MOST_BYTES} bytes")
    return _whole(archive.read(name), name)


def _whole(data: bytes, name: str) -> bytes:
    """Raises ValueError for what does not begin as a JPEG does."""
    if not data.startswith(b"\xff\xd8"):
        raise ValueError(f"{name} is no JPEG")
    return data
