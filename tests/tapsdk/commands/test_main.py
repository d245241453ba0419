"""The command line: what a person types, and what they get to see when it goes wrong."""

import json
import os
import subprocess
import sys

import pytest

import tapsdk
from tapsdk.artifact.registry import OFFICIAL
from tapsdk.commands import main as cli
from tests.support import ROOT, needs_full_device


@pytest.mark.parametrize(
    "arguments", [[], ["track"], ["track", "v.mp4"], ["dance"], ["track", "v", "--grid", "x"]], ids=str
)
def test_a_command_that_is_not_understood_shows_the_usage(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main(arguments)
    assert caught.value.code == 2
    assert capsys.readouterr().err.startswith("usage: tapsdk")


# tapsdk models


def test_models_lists_all_of_them_and_how_to_get_them(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("TAPSDK_CACHE", str(tmp_path))
    assert cli.main(["models"]) == 0
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert list(lines) == ["tapir/tiny", "tapir/small", *OFFICIAL]
    assert "bundled, also called tapir" in lines["tapir/tiny"]
    assert "bundled: tapir/tiny on frames of the area of 512x512" in lines["tapir/small"]
    for name, official in OFFICIAL.items():
        assert official.licence in lines[name]
        assert (f"tapsdk get {name}" in lines[name]) == official.can_be_exported


def test_models_for_programs(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("TAPSDK_CACHE", str(tmp_path))
    assert cli.main(["models", "--json"]) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert list(rows) == ["tapir/tiny", "tapir/small", *OFFICIAL]
    assert [name for name, row in rows.items() if row["ready"]] == ["tapir/tiny", "tapir/small"]
    assert rows["tapir/tiny"]["aliases"] == ["tapir"]


def test_the_version(capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out == f"tapsdk {tapsdk.__version__}\n"


# Where the output goes


def run_module(*arguments, **options):
    """`python -m tapsdk` in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "tapsdk", *arguments],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        **options,
    )


def test_it_runs_as_a_module():
    result = run_module("models", stdout=subprocess.PIPE)
    assert (result.returncode, result.stderr) == (0, "")
    assert "tapir/tiny" in result.stdout


def test_a_reader_that_has_gone_is_not_an_error_worth_words():
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as closed_pipe:
        result = run_module("models", stdout=closed_pipe)
    assert (result.returncode, result.stderr) == (1, "")


@pytest.mark.skipif(sys.platform == "win32", reason="needs a POSIX shell")
def test_no_output_at_all():
    command = f"'{sys.executable}' -m tapsdk models >&-"
    result = subprocess.run(["sh", "-c", command], cwd=ROOT, stderr=subprocess.PIPE, text=True, check=False)
    assert (result.returncode, result.stderr) == (0, "")


@needs_full_device
def test_output_that_finds_no_room():
    with open("/dev/full", "w") as full:
        result = run_module("models", stdout=full)
    assert result.returncode == 1
    assert result.stderr == "error: [Errno 28] No space left on device\n"
