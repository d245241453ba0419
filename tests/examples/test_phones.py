"""The snippets for phones: their syntax, the names that they mention, and what the Kotlin one does on a JVM.

Neither LiteRT for Android nor Core ML runs where these tests do.
"""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest

import tapsdk
from tapkernels import reference
from tapsdk.artifact.manifest import NEXT, Role, entry_point, read_manifest
from tapsdk.runtime.flow import Following
from tests.examples.pairs import Pair, pairs
from tests.support import ROOT, copy_artifact, moving_texture, random_points

SNIPPETS = {
    "swift": ROOT / "examples" / "ios" / "TapTracker.swift",
    "kotlin": ROOT / "examples" / "android" / "TapTracker.kt",
}
FOLLOWING = {language: path.with_stem("Following") for language, path in SNIPPETS.items()}
TARGETS = {"swift": "coreml", "kotlin": "tflite"}
STAGES = ("encode", "query", "step")
JVM = Path(__file__).parent / "jvm"
JSON_JAR = Path("/usr/share/java/com.android.json.jar")

languages = pytest.mark.parametrize("language", SNIPPETS)
needs_jvm = pytest.mark.skipif(
    not (shutil.which("kotlinc") and shutil.which("java") and JSON_JAR.exists()),
    reason="needs kotlinc, java and org.json: apt install kotlin libandroid-json-java",
)


@languages
@pytest.mark.parametrize("files", [SNIPPETS, FOLLOWING], ids=["tracker", "following"])
def test_the_syntax_is_right(language: str, files: dict[str, Path]):
    tree_sitter = pytest.importorskip("tree_sitter", reason="needs tree-sitter: pip install tree-sitter")
    name = f"tree_sitter_{language}"
    grammar = pytest.importorskip(name, reason=f"needs {name}: pip install tree-sitter-{language}")
    parser = tree_sitter.Parser(tree_sitter.Language(grammar.language()))
    source = files[language].read_bytes()
    assert not parser.parse(source).root_node.has_error
    assert parser.parse(source.rstrip().removesuffix(b"}")).root_node.has_error


@languages
def test_following_has_the_numbers_of_the_kernel_and_the_entries_of_the_manifest(language: str):
    text = FOLLOWING[language].read_text(encoding="utf-8")
    numbers = ("ITERATIONS", "LONGEST", "FLAT", "SMALLEST")
    stated = dict(re.findall(r"private (?:const val|let) (\w+) = ([\d.e-]+)", text))
    expected = {name if language == "kotlin" else name.lower(): getattr(reference, name) for name in numbers}
    assert {name: float(value) for name, value in stated.items()} == expected

    (properties,) = re.findall(r"^(?:struct|internal class) Following\b(.*?)fun", text, re.M | re.S)
    entries = re.findall(r"^ +(?:private val|let) ([\w, ]+): (\w+)", properties, re.M)
    found = {name: kind for names, kind in entries for name in names.split(", ")}
    kinds = {"int": "Int", "float": "Double"}
    assert found == {field.name: kinds[str(field.type)] for field in dataclasses.fields(Following)}


@languages
def test_every_tensor_is_documented_as_it_is(language: str, bundled: Path):
    """The table at the top, row by row and in order, against the manifest of the bundled model."""
    row = re.compile(r"^// (encode|query|step) +(in|out) +(\w+) +\[(.*?)\] +(\w+)", re.M)
    documented = row.findall(SNIPPETS[language].read_text(encoding="utf-8"))
    stages = read_manifest(bundled).stages
    looked_at = {t.name for t in stages["query"].inputs}
    tensors = [
        (name, way, t.name, ", ".join(map(str, t.shape)), t.role)
        for name in STAGES
        for way, specs in (("in", stages[name].inputs), ("out", stages[name].outputs))
        for t in specs
        if name != "encode" or way == "in" or t.name in looked_at  # others are for native kernels, not for phones
    ]
    assert documented == tensors


@languages
def test_the_names_in_the_code_are_the_manifests(language: str, bundled: Path):
    """Every word in quotes is a stage, a role, a format, an entry point, a prefix or an entry of the manifest."""
    text = SNIPPETS[language].read_text(encoding="utf-8")
    code = "\n".join(
        line.split("//")[0] for line in text.splitlines() if not line.lstrip().startswith(("//", "*", "/*"))
    )
    words = set(re.findall(r'"([a-z_]+)(?:"|\$|\\\(| ?\+)', code))
    table = json.loads((bundled / "manifest.json").read_text(encoding="utf-8"))
    stage = table["stages"]["step"]
    entries = {
        *table,
        *table["visibility"],
        *table["following"],
        *stage,
        *stage["inputs"][0],
        *stage["files"]["onnx"],
        "buckets",
        "frame_size",
    }
    points = entry_point(read_manifest(bundled).stages["step"], 1).removesuffix("1")
    allowed = {*entries, *STAGES, *get_args(Role), TARGETS[language], NEXT, points, "main", "exact", "mlmodelc"}
    assert words - allowed == set()
    assert {*STAGES, "frame", "points", "feature", "previous", "state", "xy", TARGETS[language], NEXT, points} <= words
    assert set(table["following"]) <= words or language == "swift"  # whose compiler knows them from the properties


@languages
def test_the_commands_are_accepted(language: str):
    pytest.importorskip("torch", reason="needs torch: pip install 'tapsdk[export-onnx]'")
    from export.__main__ import _parser

    (command,) = re.findall(r"python -m export (.+)", SNIPPETS[language].read_text(encoding="utf-8"))
    assert _parser().parse_args(command.split()).target == TARGETS[language]


@pytest.fixture(scope="module")
def jar(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Kotlin files and programs that call them."""
    sources = [*sorted(JVM.glob("*.kt")), SNIPPETS["kotlin"], FOLLOWING["kotlin"]]
    jar = tmp_path_factory.mktemp("jvm") / "app.jar"
    output_of("kotlinc", "-nowarn", "-cp", JSON_JAR, *sources, "-include-runtime", "-d", jar)
    return jar


@needs_jvm
@pytest.mark.slow
@pairs
def test_kotlin_follows_points_as_the_kernel_does(jar: Path, pair: Pair, tmp_path: Path):
    settings = {"size": pair.before.shape[:2], "radius": pair.radius, "levels": pair.levels, "points": len(pair.xy)}
    (tmp_path / "pair.json").write_text(json.dumps(settings), encoding="utf-8")
    numbers = [array.astype(">f4").tobytes() for array in (pair.before, pair.after, pair.xy)]
    (tmp_path / "pair.f4").write_bytes(b"".join(numbers))
    answer = output_of("java", "-cp", f"{jar}:{JSON_JAR}", "org.tapsdk.examples.FollowKt", cwd=tmp_path)
    pair.check(np.array(json.loads(answer)))


@needs_jvm
@pytest.mark.slow
def test_kotlin_tracks_as_python_does(jar: Path, bundled: Path, tmp_path: Path):
    """On a JVM, with a stand-in for LiteRT: 16 rows, then 64, then 16 again, then none.

    Points begin beside the post that some go behind: at its edges, differences of rounding would grow.
    """
    video = moving_texture(12, 160, 160, step=(2, 1))
    video[:, :, 80:100] = 30
    left = video[:, :, :64]
    add = {0: random_points(6, left), 4: random_points(12, left, seed=1)}
    remove = {6: [2], 8: list(range(6, 18)), 10: [0, 1, 3, 4, 5]}
    scenario = {"size": [160, 160], "frames": 12, "add": {t: xy.tolist() for t, xy in add.items()}, "remove": remove}
    (tmp_path / "scenario.json").write_text(json.dumps(scenario), encoding="utf-8")
    (tmp_path / "frames.rgb").write_bytes(video.tobytes())
    copy_artifact(bundled, tmp_path / "artifact", as_for_phones)

    settings = [f"-Dpython={sys.executable}", f"-Dengine={JVM / 'engine.py'}"]
    run = ["java", *settings, "-cp", f"{jar}:{JSON_JAR}", "MainKt"]
    answer = output_of(*run, cwd=tmp_path)

    tracker = tapsdk.Tracker(backend="onnxruntime:fused")
    for t, (frame, line) in enumerate(zip(video, answer.splitlines(), strict=True)):
        tracker.add(add.get(t, []))
        tracker.remove(remove.get(t, []))
        expected = tracker.step(frame)
        found = np.array(json.loads(line)).reshape(-1, 4)
        assert found[:, 0].tolist() == tracker.ids
        np.testing.assert_allclose(found[:, 1:3], expected.xy[:, 0], atol=1e-3)
        np.testing.assert_allclose(found[:, 3], expected.confidence[:, 0], atol=1e-4)


def output_of(*command: object, **options: Any) -> str:
    result = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False, **options)
    assert result.returncode == 0, result.stderr
    return result.stdout


def as_for_phones(table: dict[str, Any]) -> None:
    """The manifest as an export to LiteRT writes it, but with the ONNX files."""
    table |= {"size_multiple": None, "buckets": {"tflite": [16, 64]}}
    for stage in table["stages"].values():
        stage["files"] = {"tflite": stage["files"]["onnx"]}
