"""Each surface takes or refuses what it is given: a few dozen inputs here, for as long as wanted by `make fuzz`."""

import importlib.util
import os
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tapsdk.errors import TapsdkError
from tests.fuzz.mutators import Payload
from tests.fuzz.run import fuzz, spoilt, verdict
from tests.fuzz.surfaces import SURFACES, Surface

NEEDS = {"checkpoints": "torch", "joints": "scipy", "tracks3d": "PIL"}
INPUTS = {"tracker": 8, "features": 8, "manifest": 12, "stages": 6}
"""Of surfaces that open a model for each; 40 of the others."""


@pytest.fixture
def seeds(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    name = request.node.callspec.params["name"]
    if name in NEEDS and importlib.util.find_spec(NEEDS[name]) is None:
        pytest.skip(f"needs {NEEDS[name]}")
    folder = tmp_path / "seeds"
    folder.mkdir()
    SURFACES[name].make(folder)
    return folder


@pytest.mark.parametrize("name", SURFACES)
def test_the_seeds_are_right(name, seeds):
    SURFACES[name].read(seeds)


@pytest.mark.parametrize("name", SURFACES)
def test_spoilt_inputs_are_taken_or_refused(name, seeds, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = {}
    for number in range(INPUTS.get(name, 40)):
        path = spoilt(SURFACES[name], name, seeds, number, tmp_path / "input")
        found[number, path.name] = verdict(SURFACES[name], tmp_path / "input")
    assert {key: problem for key, problem in found.items() if problem} == {}


def test_an_input_is_the_same_every_time(tmp_path):
    seeds = tmp_path / "seeds"
    seeds.mkdir()
    SURFACES["points"].make(seeds)
    contents = [
        spoilt(SURFACES["points"], "points", seeds, number, tmp_path / str(run)).read_bytes()
        for run in range(2)
        for number in (3, 3, 4)
    ]
    assert contents[:3] == contents[3:] and contents[0] == contents[1] != contents[2]


def _one_file(folder: Path) -> None:
    (folder / "file.bin").write_bytes(bytes(64))


def _strange(folder: Path) -> None:
    """Of every three inputs, one is refused, one raises something else, and one ends the process."""
    if not any((folder / "file.bin").read_bytes()):
        return
    kind = (folder / "file.bin").read_bytes()[0] % 3
    if kind == 0:
        raise TapsdkError("refused")
    if kind == 1:
        raise ValueError("something else")
    os.abort()


def _numbered(data: bytes, rng: np.random.Generator) -> bytes:
    return bytes([int(rng.integers(1, 255))])


def test_what_raises_something_else_or_ends_the_process_is_found(tmp_path, monkeypatch):
    monkeypatch.setitem(SURFACES, "strange", Surface(_one_file, _strange, {".bin": (_numbered,)}))
    tried, found = fuzz("strange", 60, tmp_path, inputs=12)
    kinds = {problem.split(":")[0] for problem in found.values()}
    assert tried == 12 and kinds == {"ValueError", "ended the process (-6)"}
    folder, seeds = tmp_path / "again", tmp_path / "strange-seeds"
    kind = [spoilt(SURFACES["strange"], "strange", seeds, n, folder).read_bytes()[0] % 3 for n in range(12)]
    assert set(found) == {n for n in range(12) if kind[n]}


def test_code_that_runs_is_found(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    _one_file(tmp_path)
    (tmp_path / "file.bin").write_bytes(pickle.dumps(Payload()))
    surface = Surface(_one_file, lambda folder: pickle.loads((folder / "file.bin").read_bytes()), {})
    assert verdict(surface, tmp_path) == "code of the file ran"
    assert verdict(replace(surface, read=lambda folder: None), tmp_path) is None
