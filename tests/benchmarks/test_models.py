"""What runs need is made once, made anew when its sources change, and missed with a reason."""

import sys

import pytest

from benchmarks import models
from benchmarks.__main__ import main
from benchmarks.models import Need, artifact_of, has_random_weights, prepare
from benchmarks.runners import RUNNERS

TOUCH = [sys.executable, "-c", "import sys, pathlib; pathlib.Path(sys.argv[1]).write_text('made')"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(models, "FOLDER", tmp_path)
    return tmp_path


def make(path, command=None):
    said = []
    return models._make("it", path, command or [*TOUCH, str(path)], said.append), said


def test_a_thing_is_made_once(folder):
    path = folder / "thing"
    assert make(path) == ([], ["making it (once)"])
    assert make(path) == ([], [])
    assert path.read_text() == "made"


def test_it_is_made_anew_when_what_it_is_made_from_has_changed(folder, monkeypatch):
    path = folder / "thing"
    make(path)
    path.write_text("old")
    monkeypatch.setattr(models, "_sources", lambda: "others")
    assert make(path)[1] == ["making it (once)"]
    assert path.read_text() == "made"


def test_what_cannot_be_made_is_told_and_tried_again(folder):
    failing = [sys.executable, "-c", "raise SystemExit('no room')"]
    for _ in range(2):
        assert make(folder / "thing", failing) == (["it: no room"], ["making it (once)", "  failed: no room"])


def test_only_what_is_needed_is_made(folder, monkeypatch):
    made = []
    monkeypatch.setattr(models, "_make", lambda what, *_: made.append(what) or [])
    assert prepare(lambda _: None, [Need("tapir/tiny", plain=True)]) == []
    assert made == ["the plain ONNX graphs of tapir/tiny"]


def test_without_official_weights_there_are_random_ones(folder, monkeypatch):
    made = []
    monkeypatch.setattr(models, "_make", lambda what, *_: made.append(what) or [])
    assert has_random_weights("tapir/boots") and not has_random_weights("tapir/tiny")
    prepare(lambda _: None, [Need("tapir/boots")])
    assert made == ["random weights of tapir/boots", "the artifact of tapir/boots"]


def test_the_bundled_model_is_taken_as_it_is(folder):
    assert artifact_of("tapir/tiny") == "tapir/tiny"
    assert artifact_of("tapir/boots") == str(folder / "tapir-boots")


@pytest.mark.parametrize(("failures", "status"), [([], 0), (["the artifact: no room"], 1)])
def test_setup_says_of_every_runner_whether_it_is_ready(failures, status, monkeypatch, capsys):
    monkeypatch.setattr(models, "prepare", lambda *_: failures)
    assert main(["setup"]) == status
    assert all(f"{runner.title}: " in capsys.readouterr().out for runner in list(RUNNERS.values())[:1])
