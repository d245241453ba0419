import os
import signal
import stat
import subprocess
import sys

import pytest

from tapsdk.errors import SaveError
from tapsdk.system import leftovers
from tapsdk.system.files import AtomicFile, check_not_input, is_special_file
from tests.support import child_environment, needs_kill


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


needs_permissions = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX permissions")


@needs_permissions
@pytest.mark.parametrize("umask, mode", [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)], ids=oct)
def test_the_users_umask_holds_for_new_files(tmp_path, umask, mode):
    before = os.umask(umask)
    try:
        with AtomicFile(tmp_path / "result.bin"):
            pass
    finally:
        os.umask(before)
    assert mode_of(tmp_path / "result.bin") == mode


@needs_permissions
@pytest.mark.parametrize("mode", [0o600, 0o640, 0o664, 0o755, 0o444], ids=oct)
def test_a_file_that_is_replaced_leaves_its_permissions(tmp_path, mode):
    path = tmp_path / "result.bin"
    path.write_bytes(b"older")
    path.chmod(mode)
    with AtomicFile(path) as file:
        (temporary,) = set(tmp_path.iterdir()) - {path}
        assert mode_of(temporary) & 0o077 & ~mode == 0  # private from the first byte
        file.write(b"newer")
    assert (path.read_bytes(), mode_of(path)) == (b"newer", mode)


@needs_permissions
def test_what_a_group_may_do_is_not_given_to_another(tmp_path, monkeypatch):
    path = tmp_path / "result.bin"
    path.write_bytes(b"older")
    path.chmod(0o660)
    found, fstat = [], os.fstat

    def of_another_group(descriptor):
        values = list(fstat(descriptor))
        values[stat.ST_GID] += 1
        return os.stat_result(values)

    monkeypatch.setattr(os, "fchown", lambda *arguments: found.append(arguments))
    monkeypatch.setattr(os, "fstat", of_another_group)
    with AtomicFile(path):
        pass
    assert [arguments[1:] for arguments in found] == [(-1, path.stat().st_gid), (path.stat().st_uid, -1)]
    assert mode_of(path) == 0o600


def mode_of(path):
    return stat.S_IMODE(path.stat().st_mode)


# What it outdates


def test_what_it_outdates_goes_right_before_it_comes(tmp_path):
    path, video = tmp_path / "tracks.npz", tmp_path / "video.mp4"
    video.write_bytes(b"of older tracks")
    (tmp_path / "link.mp4").symlink_to(video)
    with AtomicFile(path, outdates=tmp_path / "link.mp4"):
        assert video.exists()
    assert path.exists()
    assert not video.exists()


def test_what_it_would_have_outdated_stays_if_it_does_not_come(tmp_path):
    path, video = tmp_path / "tracks.npz", tmp_path / "video.mp4"
    video.write_bytes(b"of older tracks")
    with pytest.raises(RuntimeError), AtomicFile(path, outdates=video):
        raise RuntimeError
    assert [each.name for each in tmp_path.iterdir()] == ["video.mp4"]


@pytest.mark.parametrize("outdated", ["missing.mp4", "folder", os.devnull])
def test_what_is_no_file_is_not_outdated(tmp_path, outdated):
    (tmp_path / "folder").mkdir()
    with AtomicFile(tmp_path / "tracks.npz", outdates=tmp_path / outdated):
        pass
    assert (tmp_path / "tracks.npz").exists()
    assert (tmp_path / "folder").exists()
    assert os.path.exists(os.devnull)


# Killed


@needs_kill
@pytest.mark.parametrize("moment", ["flush", "fsync", "fchmod", "replace"])
def test_whenever_a_process_is_killed_the_older_file_is_whole(tmp_path, moment):
    path = tmp_path / "result.bin"
    path.write_bytes(b"older")
    script = """if True:
        import os, signal, sys
        from tapsdk.system import files

        def kill(*arguments):
            os.kill(os.getpid(), signal.SIGKILL)

        output = files.AtomicFile(sys.argv[1])
        output.file.write(b"newer")
        setattr(os, sys.argv[2], kill) if hasattr(os, sys.argv[2]) else kill()
        output.commit()
    """
    done = subprocess.run([sys.executable, "-c", script, path, moment], env=child_environment(), check=False)
    assert done.returncode == -signal.SIGKILL
    assert path.read_bytes() == b"older"
    with AtomicFile(path) as file:
        file.write(b"newest")
        leftovers.remove_abandoned(tmp_path)
    assert {each.name: each.read_bytes() for each in tmp_path.iterdir()} == {"result.bin": b"newest"}


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
