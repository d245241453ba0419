"""A folder takes the place of another, and whenever the process is killed one of them is there."""

import os
import signal
import subprocess
import sys

import pytest

from tapsdk.system import folders
from tapsdk.system.folders import exchange, put_back, replace_folder
from tests.support import child_environment, needs_kill

needs_exchange = pytest.mark.skipif(
    sys.platform not in ("linux", "darwin"), reason="no other system exchanges two names in one step"
)


@pytest.fixture(params=["at once", "one after the other"])
def way(request, monkeypatch):
    if request.param == "one after the other":
        monkeypatch.setattr(folders, "exchange", lambda one, other: False)
    return request.param


def make(path, **files):
    path.mkdir()
    for name, text in files.items():
        (path / name).write_text(text)
    return path


def held(path):
    return {each.name: each.read_text() for each in path.iterdir()} if path.exists() else None


def test_a_new_folder_gets_its_name(tmp_path):
    replace_folder(make(tmp_path / "made", a="new"), tmp_path / "place")
    assert {path.name: held(path) for path in tmp_path.iterdir()} == {"place": {"a": "new"}}


def test_it_takes_the_place_of_another(tmp_path, way):
    make(tmp_path / "place", a="old", b="old")
    replace_folder(make(tmp_path / "made", a="new"), tmp_path / "place")
    assert held(tmp_path / "place") == {"a": "new"}
    assert {path.name for path in tmp_path.iterdir()} <= {"place", "made"}


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX permissions")
def test_permissions_are_those_that_were_there(tmp_path, way):
    old, made = make(tmp_path / "place", a="old"), make(tmp_path / "made", a="new", b="new")
    old.chmod(0o750)
    (old / "a").chmod(0o640)
    (made / "b").chmod(0o604)
    replace_folder(made, tmp_path / "place")
    modes = {path.name: path.stat().st_mode & 0o777 for path in (old, old / "a", old / "b")}
    assert modes == {"place": 0o750, "a": 0o640, "b": 0o604}


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()], ids=repr)
def test_where_it_goes_wrong_the_old_one_is_back(tmp_path, monkeypatch, error):
    make(tmp_path / "place", a="old")
    made = make(tmp_path / "made", a="new")
    rename = os.rename

    def fail(source, target):
        if source == made:
            raise error
        rename(source, target)

    monkeypatch.setattr(folders, "exchange", lambda one, other: False)
    monkeypatch.setattr(os, "rename", fail)
    with pytest.raises(type(error)):
        replace_folder(made, tmp_path / "place")
    assert {path.name: held(path) for path in tmp_path.iterdir()} == {"place": {"a": "old"}, "made": {"a": "new"}}


@needs_exchange
def test_two_names_are_exchanged(tmp_path):
    one, other = make(tmp_path / "one", a="one"), make(tmp_path / "other \xe4", a="other")
    assert exchange(one, other)
    assert (held(one), held(other)) == ({"a": "other"}, {"a": "one"})


def test_what_cannot_be_exchanged_stays(tmp_path):
    one = make(tmp_path / "one", a="one")
    assert not exchange(one, tmp_path / "missing")
    assert held(one) == {"a": "one"}


# Killed


@needs_kill
@pytest.mark.parametrize("renames", [0, 1, 2], ids="after {} renames".format)
@pytest.mark.parametrize("exchanges", [True, False], ids=["at once", "one after the other"])
def test_whenever_it_is_killed_one_of_the_two_is_there_or_is_put_back(tmp_path, exchanges, renames):
    make(tmp_path / "place", a="old")
    make(tmp_path / "made", a="new")
    script = """if True:
        import os, shutil, signal, sys
        from pathlib import Path
        from tapsdk.system import folders

        calls, rename = [], os.rename

        def kill(*arguments, **options):
            os.kill(os.getpid(), signal.SIGKILL)

        def counted(*arguments):
            if len(calls) == int(sys.argv[2]):
                kill()
            calls.append(arguments)
            rename(*arguments)

        os.rename, shutil.rmtree = counted, kill
        if sys.argv[3] == "False":
            folders.exchange = lambda one, other: False
        folders.replace_folder(Path(sys.argv[1], "made"), Path(sys.argv[1], "place"))
        kill()
    """
    command = [sys.executable, "-c", script, tmp_path, str(renames), str(exchanges)]
    done = subprocess.run(command, env=child_environment(), check=False)
    assert done.returncode == -signal.SIGKILL
    if exchanges:
        assert held(tmp_path / "place") == {"a": "new"}
    put_back(tmp_path / "place")
    assert held(tmp_path / "place") == {"a": "new" if exchanges or renames == 2 else "old"}
    assert {path.name for path in tmp_path.iterdir()} <= {"place", "made"}
