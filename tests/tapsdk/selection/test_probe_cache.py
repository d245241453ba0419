"""Measurements are kept on disk, and nothing that may happen to a file there stops anyone from working."""

import json
import logging
import subprocess
import sys

import pytest

from tapsdk.selection import probe_cache
from tapsdk.selection.probe_cache import FOLDER, VARIABLE, Measurement, forget, load, save
from tests.support import ROOT

KEY = {"model": "tapir/tiny", "points, size": [64, [256, 256]], "threads": None}
MEASURED = [
    Measurement("onnxruntime", "fused", 12.5, 1e-5),
    Measurement("other", "fused", refused="it crashed"),
]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Where files are kept; it does not exist yet."""
    monkeypatch.setenv("TAPSDK_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setattr(probe_cache, "_remembered", {})
    return tmp_path / "cache" / FOLDER


@pytest.fixture
def new_process(monkeypatch):
    """Forgets what only this process knows."""
    return lambda: monkeypatch.setattr(probe_cache, "_remembered", {})


def test_what_was_kept_comes_back(new_process, folder):
    assert load(KEY) is None
    save(KEY, MEASURED)
    new_process()
    assert load(KEY) == MEASURED
    assert len(list(folder.iterdir())) == 1


@pytest.mark.parametrize("other", [{"model": "tapir/base"}, {"threads": 1}, {"points, size": [128, [256, 256]]}])
def test_for_another_key_there_is_nothing(new_process, other):
    save(KEY, MEASURED)
    new_process()
    assert load({**KEY, **other}) is None


@pytest.mark.parametrize(
    "damage",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"null",
        b"[]",
        b"{}",
        json.dumps({"key": KEY}).encode(),
        json.dumps({"key": KEY, "measurements": 3}).encode(),
        json.dumps({"key": KEY, "measurements": [{}]}).encode(),
        json.dumps({"key": KEY, "measurements": [{"backend": "a", "plan": "b"}]}).encode(),
        json.dumps({"key": KEY, "measurements": [{"backend": 1, "plan": "b", "refused": "no"}]}).encode(),
        json.dumps({"key": KEY, "measurements": [{"backend": "a", "plan": "b", "milliseconds": "1"}]}).encode(),
        json.dumps({"key": KEY, "measurements": [{"backend": "a", "plan": "b", "more": 1}]}).encode(),
        json.dumps({"key": {**KEY, "threads": 2}, "measurements": []}).encode(),
        b"[" * 100_000,
        json.dumps(
            {"key": KEY, "measurements": [{"backend": "a", "plan": "b", "milliseconds": float("nan")}]}
        ).encode(),
        json.dumps({"key": KEY, "measurements": [{"backend": "a", "plan": "b", "milliseconds": -1.0}]}).encode(),
        json.dumps({"key": KEY, "measurements": ["ab"]}).encode(),
        json.dumps([{"key": KEY}]).encode(),
        b"9" * 10_000,
    ],
    ids=lambda data: data[:60].decode("latin-1"),
)
def test_a_damaged_file_is_ignored_told_and_replaced(new_process, folder, caplog, damage):
    save(KEY, MEASURED)
    (path,) = folder.iterdir()
    path.write_bytes(damage)
    new_process()
    with caplog.at_level(logging.WARNING):
        assert load(KEY) is None
    assert "is made again" in caplog.text
    save(KEY, MEASURED)
    new_process()
    assert load(KEY) == MEASURED


def test_a_cache_that_cannot_be_written_to_costs_only_time(folder, caplog, new_process):
    folder.parent.parent.mkdir(exist_ok=True)
    folder.parent.write_text("a file where the folder should be")
    with caplog.at_level(logging.INFO):
        save(KEY, MEASURED)
    assert "is not kept" in caplog.text
    assert load(KEY) == MEASURED  # by this process
    new_process()
    assert load(KEY) is None
    assert forget() == 0


def test_a_user_without_a_home_can_work(monkeypatch, caplog):
    def homeless():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(probe_cache, "cache_directory", homeless)
    save(KEY, MEASURED)
    assert load(KEY) == MEASURED
    assert forget() == 0
    assert load(KEY) is None


def test_anew_measures_again_once_in_every_process(monkeypatch, new_process):
    save(KEY, MEASURED)
    new_process()
    monkeypatch.setenv(VARIABLE, "anew")
    assert load(KEY) is None
    save(KEY, MEASURED[:1])
    assert load(KEY) == MEASURED[:1]
    monkeypatch.delenv(VARIABLE)
    new_process()
    assert load(KEY) == MEASURED[:1]


def test_all_can_be_forgotten(folder):
    save(KEY, MEASURED)
    save({**KEY, "threads": 1}, MEASURED)
    assert forget() == 2
    assert load(KEY) is None
    assert list(folder.iterdir()) == []


def test_many_processes_may_write_at_once(new_process, folder):
    script = (
        "from tests.tapsdk.selection.test_probe_cache import KEY, MEASURED\n"
        "from tapsdk.selection import probe_cache\n"
        "for _ in range(50):\n"
        "    probe_cache.save(KEY, MEASURED)\n"
        "    probe_cache._remembered.clear()\n"
        "    assert probe_cache.load(KEY) == MEASURED\n"
    )
    writers = [subprocess.Popen([sys.executable, "-c", script], cwd=ROOT) for _ in range(3)]
    assert [writer.wait(120) for writer in writers] == [0, 0, 0]
    assert load(KEY) == MEASURED
    assert len(list(folder.iterdir())) == 1
