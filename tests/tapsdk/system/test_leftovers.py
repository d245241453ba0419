import os
import subprocess
import sys

import pytest

from tapsdk.system import leftovers
from tapsdk.system.files import AtomicFile
from tests.support import child_environment, needs_kill


def test_what_is_noted_and_still_there_is_removed(tmp_path):
    names = ["file", "folder", "renamed", "missing"]
    for name in names:
        leftovers.note(tmp_path / name)
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "part").write_bytes(b"")
    (tmp_path / "renamed").write_bytes(b"")
    leftovers.forget(tmp_path / "renamed")
    leftovers.remove()
    assert [path.name for path in tmp_path.iterdir()] == ["renamed"]
    leftovers.remove()


@needs_kill
@pytest.mark.parametrize("age, left", [(3600, 0), (0, 1)])
def test_what_a_killed_process_left_is_removed_when_it_is_old(tmp_path, age, left):
    script = """if True:
        import os, signal, sys
        from tapsdk.system.files import AtomicFile

        file = AtomicFile(sys.argv[1])
        os.kill(os.getpid(), signal.SIGKILL)
    """
    subprocess.run([sys.executable, "-c", script, tmp_path / "result"], env=child_environment(), check=False)
    make_older(tmp_path, age)
    leftovers.remove_abandoned(tmp_path)
    assert len(list(tmp_path.iterdir())) == left


@needs_kill
def test_what_is_being_written_or_is_of_others_stays(tmp_path):
    (tmp_path / ".tapsdk-another_machine-0123456789abcdef.tmp").write_bytes(b"")
    with AtomicFile(tmp_path / "result"):
        make_older(tmp_path, 3600)
        leftovers.remove_abandoned(tmp_path)
        assert len(list(tmp_path.iterdir())) == 2
    assert (tmp_path / "result").exists()


def test_a_folder_that_is_none_has_no_leftovers(tmp_path):
    leftovers.remove_abandoned(tmp_path / "missing")


def make_older(folder, seconds):
    for path in folder.iterdir():
        time = path.stat().st_mtime - seconds
        os.utime(path, (time, time))
