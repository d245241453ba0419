import os
import stat
import sys

import pytest

from tapsdk.errors import SaveError
from tapsdk.system.files import AtomicFile, check_not_input, is_special_file


def test_the_name_appears_when_the_file_is_complete(tmp_path):
    path = tmp_path / "result.bin"
    with AtomicFile(path) as file:
        file.write(b"one")
        file.flush()
        assert not path.exists()
        file.write(b"two")
    assert path.read_bytes() == b"onetwo"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("error", [RuntimeError("broken"), KeyboardInterrupt(), SystemExit()])
def test_an_exception_leaves_the_older_file_and_passes_through(tmp_path, error):
    path = tmp_path / "result.bin"
    path.write_bytes(b"older")
    with pytest.raises(type(error)), AtomicFile(path) as file:
        file.write(b"newer")
        raise error
    assert path.read_bytes() == b"older"
    assert list(tmp_path.iterdir()) == [path]


def test_an_oserror_becomes_a_save_error_that_says_what_and_why(tmp_path):
    path = tmp_path / "result.bin"
    with (
        pytest.raises(SaveError, match=r"could not write .*result\.bin: No space left on device"),
        AtomicFile(path),
    ):
        raise OSError(28, "No space left on device")
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX permissions")
def test_a_new_file_has_the_permissions_of_any_other(tmp_path):
    (tmp_path / "other").write_bytes(b"")
    with AtomicFile(tmp_path / "result.bin"):
        pass
    modes = [stat.S_IMODE(os.stat(tmp_path / name).st_mode) for name in ("other", "result.bin")]
    assert modes[0] == modes[1]


@pytest.mark.parametrize("name", ["nothing/result.bin", "nul\0l.bin", "long" * 100])
def test_a_path_that_cannot_be(tmp_path, name):
    with pytest.raises(SaveError, match="could not write"), AtomicFile(tmp_path / name):
        pass


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX devices")
def test_devices_and_pipes_are_special_and_files_are_not(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    os.mkfifo(tmp_path / "pipe")
    special = {"file": False, "pipe": True, "missing": False, "": False}
    assert {name: is_special_file(tmp_path / name) for name in special} == special
    assert is_special_file("/dev/null")


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX devices")
def test_a_device_is_written_to_and_not_replaced():
    with AtomicFile("/dev/null") as file:
        file.write(b"gone")
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)


# No output replaces an input


@pytest.fixture
def recording(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in.mp4").write_bytes(b"frames")
    (tmp_path / "folder").mkdir()
    (tmp_path / "link.mp4").symlink_to("in.mp4")
    os.link(tmp_path / "in.mp4", tmp_path / "hard.mp4")
    (tmp_path / "later.mp4").symlink_to("not yet.mp4")
    (tmp_path / "latest").symlink_to("folder")
    return tmp_path / "in.mp4"


@pytest.mark.parametrize(
    "name",
    ["in.mp4", "./in.mp4", "folder/../in.mp4", "latest/../in.mp4", "link.mp4", "hard.mp4"],
)
def test_an_input_by_any_name_is_no_output(recording, name):
    with pytest.raises(SaveError, match=r"could not write .*: it would replace an input.*; choose another name"):
        check_not_input(name, ["missing", recording])
    with pytest.raises(SaveError):
        check_not_input(recording, [name])


@pytest.mark.parametrize("name", ["not yet.mp4", "./not yet.mp4", "later.mp4"])
def test_what_is_yet_to_be_made_is_known_by_its_path(recording, name):
    with pytest.raises(SaveError):
        check_not_input(name, ["not yet.mp4"])


@pytest.mark.parametrize("name", ["out.mp4", "folder/in.mp4", "IN.MKV", "nul\0l", "no/folder/out.mp4"])
def test_any_other_name_is_free(recording, name):
    check_not_input(name, [recording, "nul\0l.mp4", "folder"])


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX devices")
def test_a_device_may_be_both_and_a_pipe_may_not(recording):
    check_not_input("/dev/null", ["/dev/null"])
    os.mkfifo("pipe")
    with pytest.raises(SaveError):
        check_not_input("pipe", ["./pipe"])
