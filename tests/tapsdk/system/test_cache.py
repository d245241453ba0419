import sys
import threading
from pathlib import Path

import pytest

from tapsdk.system.cache import cache_directory, file_lock


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch):
    for name in ("TAPSDK_CACHE", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", lambda: Path("home"))


@pytest.mark.parametrize(
    "platform, variables, folder",
    [
        ("linux", {}, "home/.cache/tapsdk"),
        ("linux", {"XDG_CACHE_HOME": "xdg"}, "xdg/tapsdk"),
        ("darwin", {"XDG_CACHE_HOME": "xdg"}, "home/Library/Caches/tapsdk"),
        ("win32", {}, "home/AppData/Local/tapsdk/Cache"),
        ("win32", {"LOCALAPPDATA": "local"}, "local/tapsdk/Cache"),
        ("linux", {"TAPSDK_CACHE": "mine"}, "mine"),
        ("win32", {"TAPSDK_CACHE": "mine"}, "mine"),
        ("linux", {"TAPSDK_CACHE": ""}, "home/.cache/tapsdk"),
    ],
)
def test_cache_directory(monkeypatch, platform, variables, folder):
    monkeypatch.setattr(sys, "platform", platform)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert cache_directory() == Path(folder)


def test_a_lock_is_held_by_one_at_a_time(tmp_path):
    order, entered, leave = [], threading.Event(), threading.Event()

    def first():
        with file_lock(tmp_path / "lock"):
            entered.set()
            leave.wait(10)
            order.append("first")

    thread = threading.Thread(target=first)
    thread.start()
    assert entered.wait(10)
    threading.Timer(0.2, leave.set).start()
    with file_lock(tmp_path / "lock"):
        order.append("second")
    thread.join()
    assert order == ["first", "second"]


def test_a_lock_is_free_after_an_exception(tmp_path):
    with pytest.raises(KeyError), file_lock(tmp_path / "lock"):
        raise KeyError
    with file_lock(tmp_path / "lock"):
        pass
