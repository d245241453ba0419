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
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest

import tapsdk
from tapkernels import reference
from tapsdk.artifact.manifest import NEXT, FlowFusion, Join, QueryFrame, Role, entry_point
from tapsdk.artifact.manifest_file import read_manifest
from tests.examples.refusals import PHONE_REFUSALS, REFUSALS, changed
from tests.golden import flow_cases
from tests.support import ROOT, copy_artifact, in_fog, moving_texture, random_points

JVM = Path(__file__).parent / "jvm"
SWIFT = Path(__file__).parent / "swift"

SNIPPETS = {
    "swift": ROOT / "examples" / "ios" / "TapTracker.swift",
    "kotlin": ROOT / "examples" / "android" / "TapTracker.kt",
}
FLOW = {language: path.with_stem("Flow") for language, path in SNIPPETS.items()}
CASES = {"swift": SWIFT / "main.swift", "kotlin": JVM / "FlowCases.kt"}
TARGETS = {"swift": "coreml", "kotlin": "tflite"}
STAGES = ("encode", "query", "step")
JSON_JAR = Path("/usr/share/java/com.android.json.jar")

languages = pytest.mark.parametrize("language", SNIPPETS)
needs_jvm = pytest.mark.skipif(
    not (shutil.which("kotlinc") and shutil.which("java") and JSON_JAR.exists()),
    reason="needs kotlinc, java and org.json: apt install kotlin libandroid-json-java",
)


@languages
@pytest.mark.parametrize("files", [SNIPPETS, FLOW, CASES], ids=["tracker", "flow", "cases"])
def test_the_syntax_is_right(language: str, files: dict[str, Path]):
    tree_sitter = pytest.importorskip("tree_sitter", reason="needs tree-sitter: pip install tree-sitter")
    name = f"tree_sitter_{language}"
    grammar = pytest.importorskip(name, reason=f"needs {name}: pip install tree-sitter-{language}")
    parser = tree_sitter.Parser(tree_sitter.Language(grammar.language()))
    source = files[language].read_bytes()
    assert not parser.parse(source).root_node.has_error
    assert parser.parse(source.rstrip()[:-1]).root_node.has_error


@languages
def test_flow_has_the_numbers_of_the_kernel_and_the_entries_of_the_manifest(language: str):
    text = FLOW[language].read_text(encoding="utf-8")
    numbers = ("ITERATIONS", "LONGEST", "FLAT", "SMALLEST")
    stated = dict(re.findall(r"private (?:const val|let) (\w+) = ([\d.e-]+)", text))
    expected = {name if language == "kotlin" else name.lower(): getattr(reference, name) for name in numbers}
    assert {name: float(value) for name, value in stated.items()} == expected

    (properties,) = re.findall(r"^(?:struct|internal class) FlowFusion\b(.*?)fun", text, re.M | re.S)
    entries = re.findall(r"^ +(?:private val|val|let) ([\w, ]+): (\w+)", properties, re.M)
    found = {name: kind for names, kind in entries for name in names.split(", ")}
    kinds = {"int": "Int", "float": "Double", "Ramp": "Ends", "tuple[float, float]": "Ends", "str": "String"}
    assert found == {field.name: kinds[str(field.type)] for field in dataclasses.fields(FlowFusion)}


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
        *table["frames"],
        *table["points"],
        *table["program"],
        *table["flow"],
        *stage,
        *stage["inputs"][0],
        *stage["files"]["onnx"],
    }
    points = entry_point(read_manifest(bundled).stages["step"], 1).removesuffix("1")
    values = {"main", "causal", "float32", *get_args(QueryFrame), *get_args(Join)}
    allowed = {*entries, *values, *STAGES, *get_args(Role), TARGETS[language], NEXT, points, "mlmodelc"}
    assert words - allowed == set()
    assert {*STAGES, "frame", "points", "feature", "previous", "state", "xy", TARGETS[language], NEXT, points} <= words
    assert set(table["flow"]) <= words


@languages
def test_the_commands_are_accepted(language: str):
    pytest.importorskip("torch", reason="needs torch: pip install 'tapsdk[export-onnx]'")
    from export.__main__ import _parser

    (command,) = re.findall(r"tapsdk export (.+)", SNIPPETS[language].read_text(encoding="utf-8"))
    assert _parser("tapsdk export").parse_args(command.split()).target == [TARGETS[language]]


@pytest.fixture(scope="module")
def jar(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Kotlin files and programs that call them."""
    sources = [*sorted(JVM.glob("*.kt")), SNIPPETS["kotlin"], FLOW["kotlin"]]
    jar = tmp_path_factory.mktemp("jvm") / "app.jar"
    output_of("kotlinc", "-nowarn", "-cp", JSON_JAR, *sources, "-include-runtime", "-d", jar)
    return jar


@needs_jvm
@pytest.mark.slow
def test_kotlin_follows_points_as_the_table_says(jar: Path):
    flow_cases.check(json.loads(java(jar, "FlowCases", flow_cases.PATH)))


@pytest.mark.skipif(shutil.which("swiftc") is None, reason="needs a Swift compiler: https://swift.org")
@pytest.mark.slow
def test_swift_follows_points_as_the_table_says(tmp_path: Path):
    """Not run so far: no compiler was at hand. Without one, what is tested of the file is its text."""
    output_of("swiftc", "-O", FLOW["swift"], CASES["swift"], "-o", tmp_path / "cases")
    flow_cases.check(json.loads(output_of(tmp_path / "cases", flow_cases.PATH)))


@needs_jvm
@pytest.mark.slow
def test_kotlin_refuses_what_it_cannot_honour(jar: Path, bundled: Path, tmp_path: Path):
    table = json.loads((bundled / "manifest.json").read_text(encoding="utf-8"))
    as_for_phones(table)
    refusals = REFUSALS | PHONE_REFUSALS
    manifests = {"fine": table} | {name: changed(table, change) for name, (change, _) in refusals.items()}
    for name, manifest in manifests.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    lines = java(jar, "Refusals", *manifests, cwd=tmp_path).splitlines()
    said = dict(zip(manifests, lines, strict=True))
    assert said.pop("fine") == ""
    assert {name: said[name] for name, (_, expected) in refusals.items() if expected not in said[name]} == {}


def test_swift_says_no_as_kotlin_does():
    """By its text, as no compiler is at hand: it has the same sentences, which Kotlin was seen to say."""
    kotlin, swift = (sentences(SNIPPETS[language].read_text(encoding="utf-8")) for language in ("kotlin", "swift"))
    of_buckets = {sentence for sentence in kotlin if "points.buckets" in sentence}  # Core ML's may do without
    assert len(of_buckets) == 1
    assert kotlin - of_buckets <= swift


@needs_jvm
@pytest.mark.slow
@pytest.mark.parametrize("flow", [True, False], ids=["flow", "another range, no flow"])
def test_kotlin_tracks_as_python_does(jar: Path, bundled: Path, tmp_path: Path, flow: bool):
    """On a JVM, with a stand-in for LiteRT: 16 rows, then 64, then 16 again, then none.

    Points begin beside the post that some go behind: at its edges, differences of rounding would grow. Fog makes
    surfaces bare, so that confidence tells whether each point keeps the texture that is its own.
    """
    video = in_fog(moving_texture(12, 160, 160, step=(2, 1)))
    video[:, :, 80:100] = 30
    left = video[:, :, :64]
    add = {0: random_points(6, left), 4: random_points(12, left, seed=1)}
    remove = {6: [2], 8: list(range(6, 18)), 10: [0, 1, 3, 4, 5]}
    scenario = {"size": [160, 160], "frames": 12, "add": {t: xy.tolist() for t, xy in add.items()}, "remove": remove}
    (tmp_path / "scenario.json").write_text(json.dumps(scenario), encoding="utf-8")
    (tmp_path / "frames.rgb").write_bytes(video.tobytes())

    def in_another_range(table: dict[str, Any]) -> None:
        if not flow:
            table["frames"]["range"], table["flow"] = [-0.75, 1.25], None

    python = copy_artifact(bundled, tmp_path / "python", in_another_range)
    copy_artifact(python, tmp_path / "artifact", as_for_phones)
    settings = [f"-Dpython={sys.executable}", f"-Dengine={JVM / 'engine.py'}"]
    answer = java(jar, "MainKt", cwd=tmp_path, settings=settings)

    tracker = tapsdk.Tracker(python, backend="onnxruntime:fused")
    for t, (frame, line) in enumerate(zip(video, answer.splitlines(), strict=True)):
        tracker.add(add.get(t, []))
        tracker.remove(remove.get(t, []))
        expected = tracker.step(frame)
        found = np.array(json.loads(line)).reshape(-1, 4)
        assert found[:, 0].tolist() == tracker.ids
        np.testing.assert_allclose(found[:, 1:3], expected.xy[:, 0], atol=1e-3)
        np.testing.assert_allclose(found[:, 3], expected.confidence[:, 0], atol=1e-4)


def sentences(text: str) -> set[str]:
    """What the reader of a manifest says, in Kotlin or Swift, with a * for what is filled in."""
    said = re.findall(r'"((?:\\"|[^"\n])*)"', text)
    filled = (re.sub(r"\\\((?:[^()]|\([^()]*\))*\)|\$\{[^}]*\}|\$\w+", "*", sentence) for sentence in said)
    said_of_manifests = r"this class|flow needs|flow\.|two numbers|a number|a count|does not grow|points.buckets"
    return {sentence for sentence in filled if re.search(said_of_manifests, sentence)}


def java(jar: Path, program: str, *arguments: object, settings: Sequence[str] = (), **options: Any) -> str:
    return output_of("java", *settings, "-cp", f"{jar}:{JSON_JAR}", program, *arguments, **options)


def output_of(*command: object, **options: Any) -> str:
    result = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False, **options)
    assert result.returncode == 0, result.stderr
    return result.stdout


def as_for_phones(table: dict[str, Any]) -> None:
    """The manifest as an export to LiteRT writes it, but with the ONNX files."""
    table["frames"]["multiple"] = None
    table["points"]["buckets"] = {"tflite": [16, 64]}
    for stage in table["stages"].values():
        stage["files"] = {"tflite": {**stage["files"]["onnx"], "format": "tflite"}}
