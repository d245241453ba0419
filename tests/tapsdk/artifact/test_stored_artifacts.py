"""Artifacts in a store: copied into the cache once, checked by the manifest, and run from there."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import tapsdk
from tapsdk.artifact import open_artifact
from tapsdk.errors import ArtifactError
from tapsdk.system import remote
from tapsdk.system.places import Url
from tests.stores import BUCKET, Front, cuts_files, hangs_up, new_folder_in, unavailable
from tests.support import copy_artifact, random_points


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TAPSDK_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "artifacts"


@pytest.fixture
def there(in_memory: Url, bundled: Path) -> Url:
    """The bundled artifact in a store."""
    remote.upload_folder(bundled, in_memory.text, "manifest.json")
    return in_memory


def replaced(url: Url, data: bytes, tmp_path: Path) -> None:
    (tmp_path / "part").write_bytes(data)
    remote.upload(tmp_path / "part", url.text)


def test_a_url_tracks_as_the_directory_does(stored: Url, bundled: Path, video: NDArray[np.uint8]) -> None:
    remote.upload_folder(bundled, stored.text, "manifest.json")
    points = random_points(3, video)
    found = tapsdk.track(video, points, str(stored), backend="onnxruntime:fused")
    expected = tapsdk.track(video, points, bundled, backend="onnxruntime:fused")
    assert np.array_equal(found.xy, expected.xy)


def test_the_copy_is_made_once_and_named_after_what_is_in_it(
    there: Url, bundled: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = open_artifact(str(there))
    assert list(cache.iterdir()) == [first.directory]
    again = f"{there}-again"
    remote.upload_folder(bundled, again, "manifest.json")
    copied: list[str] = []
    download = remote.download
    monkeypatch.setattr(remote, "download", lambda url, *rest: (copied.append(url), download(url, *rest)))
    assert open_artifact(again).directory == first.directory
    assert copied == [f"{again}/manifest.json"]


def test_a_new_artifact_under_the_old_name_is_another(there: Url, bundled: Path, tmp_path: Path) -> None:
    old = open_artifact(str(there))
    newer = copy_artifact(bundled, tmp_path / "newer", lambda table: table["tools"].update(more="1"))
    remote.upload_folder(newer, there.text, "manifest.json")
    new = open_artifact(str(there))
    assert new.manifest.tools["more"] == "1"
    assert new.directory != old.directory


def test_a_damaged_copy_is_made_anew(there: Url) -> None:
    copy = open_artifact(str(there))
    path = next(copy.directory.glob("*.onnx"))
    path.write_bytes(b"damaged")
    open_artifact(str(there)).verify()


def test_another_artifact_in_the_place_of_the_copy_is_not_taken_for_it(
    there: Url, bundled: Path, tmp_path: Path
) -> None:
    copy = open_artifact(str(there))
    shutil.rmtree(copy.directory)
    copy_artifact(bundled, copy.directory, lambda table: table["tools"].update(more="1"))
    assert "more" not in open_artifact(str(there)).manifest.tools


def test_without_a_cache_it_says_what_to_set(there: Url, monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr("tapsdk.system.cache.cache_directory", homeless)
    with pytest.raises(ArtifactError, match=r"there is no folder for a cache: .*; set TAPSDK_CACHE to one"):
        open_artifact(str(there))


def test_a_file_that_is_a_folder_is_copied_with_all_that_is_in_it(
    in_memory: Url, bundled: Path, tmp_path: Path
) -> None:
    """As those of OpenVINO are."""
    from tapsdk.system.files import sha256, size_of

    made = copy_artifact(bundled, tmp_path / "made")
    (made / "step").mkdir()
    shutil.move(made / "step.onnx", made / "step" / "model.xml")
    (made / "step" / "model.bin").write_bytes(b"1234")
    table = json.loads((made / "manifest.json").read_text())
    file = {"path": "step", "format": "openvino", "sha256": sha256(made / "step"), "bytes": size_of(made / "step")}
    table["stages"]["step"]["files"] = {"openvino": file}
    (made / "manifest.json").write_text(json.dumps(table))
    remote.upload_folder(made, in_memory.text, "manifest.json")
    content = open_artifact(str(in_memory)).file("step", "openvino")
    assert content.part("model.bin") == b"1234"


# What cannot be opened


def assert_refused(url: Url, message: str, cache: Path) -> None:
    with pytest.raises(ArtifactError, match=message) as caught:
        open_artifact(str(url))
    assert str(url) in str(caught.value)
    assert str(cache) not in str(caught.value)
    assert not cache.exists() or not any(cache.iterdir())


def test_nothing_is_no_artifact(in_memory: Url, cache: Path) -> None:
    assert_refused(in_memory, f"{in_memory} is not an artifact: it has no manifest.json", cache)


def test_a_file_that_was_exchanged_is_refused(there: Url, cache: Path, tmp_path: Path, bundled: Path) -> None:
    size = (bundled / "query.onnx").stat().st_size
    replaced(there / "query.onnx", b"0" * size, tmp_path)
    assert_refused(there, f"{there}/query.onnx is not the file that was exported", cache)


def test_a_file_that_is_larger_than_it_may_be_is_not_copied(there: Url, cache: Path, tmp_path: Path) -> None:
    replaced(there / "query.onnx", b"0" * (1 << 22), tmp_path)
    assert_refused(there, "it has more than .* bytes, which are the most", cache)


def test_a_file_that_is_missing_is_named(there: Url, cache: Path) -> None:
    remote.remove((there / "query.onnx").text)
    assert_refused(there, f"{there} lacks query.onnx; export the model there again", cache)


@pytest.mark.parametrize(
    "manifest, message",
    [
        (b"{", "manifest.json cannot be read"),
        (b"{}", "manifest.json has schema None"),
        (b" " * (5 << 20), "it has more than 4194304 bytes"),
    ],
    ids=["half", "empty", "huge"],
)
def test_a_manifest_that_is_none_is_refused(
    there: Url, cache: Path, tmp_path: Path, manifest: bytes, message: str
) -> None:
    replaced(there / "manifest.json", manifest, tmp_path)
    assert_refused(there, message, cache)


@pytest.mark.parametrize("fault", [unavailable, hangs_up, cuts_files])
def test_a_store_that_fails_is_one_error(front: Front, bundled: Path, cache: Path, fault: object) -> None:
    url = new_folder_in(f"gs://{BUCKET}")
    remote.upload_folder(bundled, url.text, "manifest.json")
    front.fault = fault
    assert_refused(url, f"^{url} cannot be read: ", cache)
