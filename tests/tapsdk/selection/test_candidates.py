"""Which backends may be tried here. Nothing is imported to find out."""

import sys
import types
from dataclasses import replace

import pytest

from tapsdk.artifact import open_artifact
from tapsdk.artifact.manifest import Causal, PointSpec, Refined, Refinement, StageSpec, Whole
from tapsdk.backends import BACKENDS, EngineInfo
from tapsdk.runtime.plans import plans_of
from tapsdk.selection.candidates import BASE, Candidate, find_candidates, is_installed, version_of, why_absent


@pytest.fixture
def artifact(bundled):
    return open_artifact(bundled)


@pytest.fixture
def rows(monkeypatch):
    """The backends: the base alone, to be added to."""
    for name in set(BACKENDS) - {BASE}:
        monkeypatch.delitem(BACKENDS, name)

    def add(name, **more):
        monkeypatch.setitem(
            BACKENDS, name, EngineInfo(**{"module": "tests", "engine": "numpy", "install": "pip", **more})
        )

    return add


def with_formats(artifact, *formats, **buckets):
    """The artifact as if it held other formats."""

    def stage(spec):
        (file,) = spec.files.values()
        return StageSpec(spec.inputs, spec.outputs, dict.fromkeys(formats, file))

    stages = {name: stage(spec) for name, spec in artifact.manifest.stages.items()}
    points = replace(artifact.manifest.points, buckets=buckets)
    return replace(artifact, manifest=replace(artifact.manifest, stages=stages, points=points))


def test_the_base_comes_first(rows, artifact):
    table = dict(BACKENDS)
    BACKENDS.clear()
    rows("other")
    BACKENDS.update(table)
    candidates, reasons = find_candidates(artifact, "", 64)
    assert candidates == [Candidate(BASE, ("fused", "native")), Candidate("other", ("fused", "native"))]
    assert reasons == {}


def test_what_is_not_installed_is_none(rows, artifact):
    rows("missing", engine="no_such_engine", install="pip install 'tapsdk[missing]'")
    candidates, reasons = find_candidates(artifact, "", 64)
    assert [each.backend for each in candidates] == [BASE]
    assert reasons == {
        "missing": "it is not installed (No module named 'no_such_engine'); "
        "install it with: pip install 'tapsdk[missing]'"
    }


def test_what_exists_elsewhere_only_is_none(rows, artifact, monkeypatch):
    monkeypatch.setattr(sys, "platform", "linux")
    rows("distant", platforms=("darwin", "beos"))
    _, reasons = find_candidates(artifact, "", 64)
    assert reasons == {"distant": "it exists on macOS, beos only, and this is Linux"}
    rows("here", platforms=("darwin", "linux"))
    assert why_absent(BACKENDS["here"]) == ""


def test_what_reads_other_formats_is_none_and_says_how_to_get_them(rows, artifact):
    rows("foreign", formats=("tflite", "paper"))
    _, reasons = find_candidates(artifact, "", 64)
    assert reasons == {
        "foreign": "it reads tflite, paper, and this artifact holds onnx; "
        "export the model for it: tapsdk export tapir/tiny --target tflite"
    }


@pytest.mark.parametrize(
    "points, found", [(16, ["narrow", BASE]), (17, [BASE]), (10**6, [BASE])], ids=["fits", "one more", "many more"]
)
def test_what_takes_too_few_points_is_none(rows, artifact, points, found):
    rows("narrow", formats=("tflite",))
    candidates, reasons = find_candidates(with_formats(artifact, "onnx", "tflite", tflite=(4, 16)), "", points)
    assert {each.backend for each in candidates} == set(found)
    assert reasons == ({} if "narrow" in found else {"narrow": "its file takes 16 points at most"})


def test_unless_all_do_since_fewer_may_come(rows, artifact):
    candidates, reasons = find_candidates(with_formats(artifact, "onnx", onnx=(4, 16)), "", 64)
    assert candidates == [Candidate(BASE, ("fused",), 16)]
    assert reasons == {}


def test_a_plan_that_is_named_is_the_only_one(rows, artifact):
    rows("fixed", formats=("tflite",))
    both = with_formats(artifact, "onnx", "tflite", tflite=(256,))
    assert [each.plans for each in find_candidates(both, "fused", 64)[0]] == [("fused",), ("fused",)]
    candidates, reasons = find_candidates(both, "native", 64)
    assert candidates == [Candidate(BASE, ("native",))]
    assert reasons == {"fixed": "it has no native plan for this artifact"}


@pytest.mark.parametrize(
    "change, plans",
    [
        ({}, ("fused", "native")),
        ({"program": Causal()}, ("fused",)),
        ({"points": PointSpec((256, 256), buckets={"onnx": (16,)})}, ("fused",)),
        ({"points": PointSpec((256, 256), buckets={"tflite": (16,)})}, ("fused", "native")),
        ({"program": Refined(Refinement(4, 3, ()))}, ("refined",)),
        ({"program": Whole(24)}, ("whole",)),
    ],
    ids=str,
)
def test_plans_are_those_that_the_artifact_has(artifact, change, plans):
    assert plans_of(replace(artifact.manifest, **change), "onnx") == plans


# Packages


def test_a_package_is_found_without_its_import(tmp_path, monkeypatch):
    (tmp_path / "explosive_engine.py").write_text("raise SystemError")
    monkeypatch.syspath_prepend(tmp_path)
    assert is_installed("explosive_engine")
    assert "explosive_engine" not in sys.modules


@pytest.mark.parametrize("name", ["no_such_engine", "no_such_engine.part"])
def test_a_package_that_is_not_there(name):
    assert not is_installed(name)
    assert version_of(name) == ""


def test_a_module_that_was_made_by_hand(monkeypatch):
    module = types.ModuleType("engine_by_hand")
    module.__spec__ = None
    monkeypatch.setitem(sys.modules, "engine_by_hand", module)
    assert is_installed("engine_by_hand")
    assert version_of("engine_by_hand") == ""


def test_versions():
    import onnxruntime

    assert version_of("onnxruntime") == onnxruntime.__version__


def test_a_package_without_a_version_is_told_by_its_file(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "plain_engine.py").write_text("")
    before = version_of("plain_engine")
    (tmp_path / "plain_engine.py").write_text("# changed")
    assert version_of("plain_engine") not in ("", before)


@pytest.mark.parametrize("name", list(BACKENDS))
def test_rows_say_what_the_backends_say(name):
    """Of those that are installed here."""
    row = BACKENDS[name]
    if why_absent(row):
        pytest.skip(why_absent(row))
    from tapsdk.backends import open_backend

    backend = open_backend(name)
    assert (backend.name, tuple(backend.formats)) == (name, row.formats)
