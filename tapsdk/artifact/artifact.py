"""From a model's name or a directory to a verified artifact."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from weakref import WeakValueDictionary

from tapsdk.artifact.content import Content, read_content
from tapsdk.artifact.manifest import MANIFEST, File, Manifest, StageSpec
from tapsdk.artifact.manifest_file import MOST_BYTES, read_manifest
from tapsdk.artifact.registry import ALIASES, CALIBRATIONS, ENLARGED, OFFICIAL
from tapsdk.artifact.weights import Weights
from tapsdk.errors import ArtifactError, ModelError
from tapsdk.system import remote
from tapsdk.system.cache import cache_directory, cache_folder
from tapsdk.system.files import sha256
from tapsdk.system.folders import replace_folder
from tapsdk.system.leftovers import temporary_folder
from tapsdk.system.places import Url, named, place
from tapsdk.system.reading import reading

BUNDLED = Path(__file__).parent.parent / "models"


@dataclass(frozen=True)
class Artifact:
    """A directory whose manifest was read; files are checked when they are asked for.

    links: whether its files may be symbolic links. Those of the package itself may: some installers make them so.
    """

    directory: Path
    manifest: Manifest
    links: bool = False
    _weights: WeakValueDictionary[str, Weights] = field(
        default_factory=WeakValueDictionary, init=False, compare=False, repr=False
    )

    def file(self, stage: str, format: str) -> Content:
        """A stage in a format, after its size and checksum were found to be right."""
        spec = self.stage(stage).files.get(format)
        if spec is None:
            formats = ", ".join(self.manifest.formats)
            raise ArtifactError(f"{self.directory} has no {format} file for stage {stage!r}; it has {formats}")
        return replace(self.checked(spec), weights=self.weights(), precision=self.manifest.precision)

    def weights(self) -> Weights | None:
        """What files of stages, and kernels, have in common, after its size and checksum were found to be right.

        It is read once for all who have it at the same time.
        """
        spec = self.manifest.weights
        if spec is None:
            return None
        found = self._weights.get(spec.path)
        if found is None:
            content = self.checked(spec)
            with reading(content.path, "holds no weights", ArtifactError):
                found = self._weights[spec.path] = Weights(content)
        return found

    def stage(self, name: str) -> StageSpec:
        if name not in self.manifest.stages:
            raise ArtifactError(f"{self.directory} has no stage {name!r}; it has {', '.join(self.manifest.stages)}")
        return self.manifest.stages[name]

    def verify(self) -> None:
        """Checks every file. Raises ArtifactError with the name of the first one at fault."""
        for file in self.manifest.files():
            self.checked(file)

    def checked(self, file: File) -> Content:
        """What is in a file, after its size and checksum were found to be right; it is not read again."""
        path = self.directory / file.path
        try:
            content = read_content(path, file.bytes, self.links)
        except FileNotFoundError:
            raise ArtifactError(f"{self.directory} lacks {file.path}; export or fetch the model again") from None
        except (OSError, ValueError) as error:  # ValueError: a name that cannot be
            raise ArtifactError(f"{path} cannot be read: {error}") from error
        if content.bytes != file.bytes or content.sha256 != file.sha256:
            raise ArtifactError(
                f"{path} is not the file that was exported: its checksum differs from the manifest's "
                f"({content.sha256[:12]}... instead of {file.sha256[:12]}...); export or fetch the model again"
            )
        return content


def open_artifact(model: str | os.PathLike[str] | Artifact) -> Artifact:
    """The artifact of a bundled model's name ("tapir"), of a published one's after `tapsdk get`, or of a directory that
    `tapsdk export` wrote; or itself.

    Of a URL, such as gs://bucket/folder, a copy in the cache, which is made unless it is there and right.
    Raises ModelError for names without an artifact at hand, ArtifactError for a directory or a URL that is not one.
    """
    if isinstance(model, Artifact):
        return model
    name = ALIASES.get(str(model), str(model))
    if isinstance(model, str) and name in bundled_models():
        return _enlarged(name) if name in ENLARGED else _opened(BUNDLED / name)
    if os.path.isdir(model):
        return _opened(Path(model))
    if isinstance(model, (str, os.PathLike)) and isinstance(url := place(model), Url):
        return _opened(_copy_of(url))
    if name in OFFICIAL:
        return _got(name)
    known = ", ".join([*ALIASES, *bundled_models(), *OFFICIAL])
    raise ModelError(f"unknown model {str(model)!r}: neither a directory nor one of {known}")


def _opened(directory: Path) -> Artifact:
    links = directory.resolve().is_relative_to(BUNDLED.resolve())
    return Artifact(directory, read_manifest(directory, links), links)


def _enlarged(name: str) -> Artifact:
    larger = ENLARGED[name]
    artifact = _opened(BUNDLED / larger.base)
    frames = replace(artifact.manifest.frames, size=larger.size)
    visibility = replace(artifact.manifest.visibility, calibration=CALIBRATIONS[name])
    return replace(artifact, manifest=replace(artifact.manifest, model=name, frames=frames, visibility=visibility))


def _copy_of(url: Url) -> Path:
    """The folder with a copy of an artifact in a store. It is named after the manifest's sum, which stands for all its
    files: an artifact is copied once, wherever it lies, and a new one under an old name is another. Raises
    ArtifactError.
    """
    typed = reading(url, "is not an artifact", ArtifactError)
    with typed, temporary_folder(cache_folder("artifacts")) as made, named(made, url):
        _download(url / MANIFEST, made / MANIFEST, MOST_BYTES, f"{url} is not an artifact: it has no {MANIFEST}")
        manifest = read_manifest(made)
        folder = made.with_name(sha256(made / MANIFEST))
        if not _is_whole(folder):
            for file in manifest.files():
                complaint = f"{url} lacks {file.path}; export the model there again"
                _download(url / file.path, made / file.path, file.bytes, complaint)
            Artifact(made, manifest).verify()
            replace_folder(made, folder)
    return folder


def _is_whole(folder: Path) -> bool:
    """Whether a copy is there and is what its name says."""
    try:
        Artifact(folder, read_manifest(folder)).verify()
    except ArtifactError:
        return False
    return sha256(folder / MANIFEST) == folder.name


def _download(url: Url, path: Path, most_bytes: int, complaint: str) -> None:
    """A file, or all that lie in a folder. Raises OSError; ArtifactError with the complaint where there is nothing."""
    try:
        remote.download(url.text, path, most_bytes)
    except FileNotFoundError:
        raise ArtifactError(complaint) from None
    except IsADirectoryError:
        for name in remote.files_under(url.text):
            part = path / name
            part.parent.mkdir(parents=True, exist_ok=True)
            remote.download(f"{url.text}/{name}", part, most_bytes)
            most_bytes -= part.stat().st_size


def got_folder(name: str, target: str) -> Path:
    """Where `tapsdk get` keeps the artifact of a published model for a target."""
    return cache_directory() / "models" / name.replace("/", "-") / target


def _got(name: str) -> Artifact:
    """The artifact of a published model that `tapsdk get` got; ONNX first. Raises ModelError if there is none."""
    if OFFICIAL[name].use:
        raise ModelError(f"{name} tracks no video; it {OFFICIAL[name].use}")
    home = got_folder(name, "onnx")
    for folder in (home, *sorted(home.parent.glob("*"))):
        if (folder / MANIFEST).is_file():
            return _opened(folder)
    raise ModelError(
        f"{name} is a published model whose weights are not bundled. This gets it ready, once: tapsdk get {name}; "
        f"with a checkpoint of your own add --weights FILE. The steps one by one are tapsdk fetch {name} and "
        f"tapsdk export {name} --target onnx -o DIR; then pass model=DIR"
    )


def bundled_models() -> list[str]:
    """Names of the models that come with the package; those on larger frames after the others."""
    own = sorted(path.parent.relative_to(BUNDLED).as_posix() for path in BUNDLED.glob("*/*/manifest.json"))
    return [*own, *(name for name, larger in ENLARGED.items() if larger.base in own)]
