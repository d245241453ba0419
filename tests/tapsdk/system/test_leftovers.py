import os
import subprocess
import sys

import pytest

from tapsdk.system import leftovers
from tapsdk.system.files import AtomicFile
from tapsdk.system.leftovers import temporary_folder, temporary_name
from tests.support import child_environment, needs_kill

FOREIGN = ".tapsdk-another_machine-0123456789abcdef.tmp"


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


# Of processes that died


def killed(folder, work):
    """A process that does `work`, with the folder as `folder`, and is killed then."""
    script = f"""if True:
        import os, signal, sys
        from pathlib import Path
        from tapsdk.system.files import AtomicFile
        from tapsdk.system.leftovers import temporary_folder

        folder = Path(sys.argv[1])
        {work}
        os.kill(os.getpid(), signal.SIGKILL)
    """
    subprocess.run([sys.executable, "-c", script, folder], env=child_environment(), check=False)


FILE = "file = AtomicFile(folder / 'result')"
FOLDER = "made = temporary_folder(folder); (made.__enter__() / 'stage').mkdir()"


@needs_kill
@pytest.mark.parametrize("work", [FILE, FOLDER], ids=["file", "folder"])
def test_what_a_killed_process_left_is_removed_by_the_next_at_once(tmp_path, work):
    killed(tmp_path, work)
    assert len(list(tmp_path.iterdir())) == 1
    leftovers.remove_abandoned(tmp_path)
    assert list(tmp_path.iterdir()) == []


@needs_kill
def test_runs_that_are_killed_one_after_the_other_leave_no_more_than_one(tmp_path):
    for work in (FILE, FOLDER, FILE):
        killed(tmp_path, work)
        assert len(list(tmp_path.iterdir())) == 1


@needs_kill
def test_writing_into_a_folder_removes_them(tmp_path):
    (tmp_path / temporary_name()).write_bytes(b"half")
    with AtomicFile(tmp_path / "result"):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["result"]


@needs_kill
def test_what_is_being_written_stays(tmp_path):
    with AtomicFile(tmp_path / "result") as file, temporary_folder(tmp_path) as made:
        present = sorted(tmp_path.iterdir())
        leftovers._present.clear()  # as for another process
        leftovers.remove_abandoned(tmp_path)
        assert sorted(tmp_path.iterdir()) == present
        assert made.is_dir()
        file.write(b"whole")
    assert (tmp_path / "result").read_bytes() == b"whole"
    assert [path.name for path in tmp_path.iterdir()] == ["result"]


@needs_kill
@pytest.mark.parametrize("kind", ["file", "folder"])
def test_what_is_taken_for_abandoned_before_it_is_locked_is_made_again(tmp_path, monkeypatch, kind):
    lock, taken = leftovers._lock, []

    def late(descriptor, wait):
        if wait and not taken:
            taken.append(descriptor)
            monkeypatch.setattr(leftovers, "_present", set())  # as for another process
            leftovers.remove_abandoned(tmp_path)
        return lock(descriptor, wait)

    monkeypatch.setattr(leftovers, "_lock", late)
    with temporary_folder(tmp_path) if kind == "folder" else AtomicFile(tmp_path / "result"):
        assert len(list(tmp_path.iterdir())) == 1
    assert taken
    assert [path.name for path in tmp_path.iterdir()] == ([] if kind == "folder" else ["result"])


@pytest.mark.parametrize("days, left", [(0, 1), (6, 1), (8, 0)])
@needs_kill
def test_what_is_of_another_machine_or_container_stays_for_a_week(tmp_path, days, left):
    (tmp_path / FOREIGN).write_bytes(b"")
    time = (tmp_path / FOREIGN).stat().st_mtime - 86400 * days
    os.utime(tmp_path / FOREIGN, (time, time))
    leftovers.remove_abandoned(tmp_path)
    assert len(list(tmp_path.iterdir())) == left


@needs_kill
def test_only_what_is_ours_is_removed(tmp_path):
    (tmp_path / "of the user").write_bytes(b"")
    (tmp_path / ".tapsdk-notes.tmp").write_bytes(b"")
    (tmp_path / temporary_name()).symlink_to("of the user")
    before = sorted(tmp_path.iterdir())
    leftovers.remove_abandoned(tmp_path)
    assert sorted(tmp_path.iterdir()) == before


@needs_kill
def test_a_pipe_of_such_a_name_blocks_nobody(tmp_path):
    os.mkfifo(tmp_path / temporary_name())
    leftovers.remove_abandoned(tmp_path)


def test_a_folder_that_is_none_has_no_leftovers(tmp_path):
    leftovers.remove_abandoned(tmp_path / "missing")


# Folders


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_temporary_folder_is_gone_whatever_happens(tmp_path, error):
    with pytest.raises(error), temporary_folder(tmp_path) as made:
        (made / "part").write_bytes(b"")
        raise error
    assert list(tmp_path.iterdir()) == []


def test_a_temporary_folder_that_was_renamed_stays(tmp_path):
    with temporary_folder(tmp_path) as made:
        made.rename(tmp_path / "result")
    assert [path.name for path in tmp_path.iterdir()] == ["result"]


@needs_kill
def test_a_temporary_folder_of_the_system_is_private():
    with temporary_folder() as made:
        assert made.stat().st_mode & 0o777 == 0o700
    assert not made.exists()
