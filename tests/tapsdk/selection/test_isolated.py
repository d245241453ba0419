"""A function that runs in a Python of its own: its result comes back, and nothing else that it does."""

import os
import signal
import sys

import pytest

from tapsdk.selection.isolated import IsolationError, run_isolated

SECONDS = 60

MODULE = """
import os, signal, sys, time
from tapsdk.errors import BackendError

def echo(request):
    return {"got": request, "path": sys.path, "pid": os.getpid()}

def shout(request):
    print("from Python")
    sys.stdout.flush()
    os.write(1, b"from C")
    return "quiet"

def refuse(request):
    raise BackendError("it does not run here")

def fail(request):
    raise ValueError("a bug")

def die(request):
    sys.stderr.write("first words\\nlast words\\n")
    sys.stderr.flush()
    os.kill(os.getpid(), signal.SIGSEGV)

def leave(request):
    os._exit(3)

def leave_without_a_word(request):
    os._exit(0)

def crash_at_the_end(request):
    import atexit
    atexit.register(os.kill, os.getpid(), signal.SIGSEGV)
    return "too early to be glad"

def sleep(request):
    time.sleep(600)
"""


@pytest.fixture(autouse=True)
def module(tmp_path, monkeypatch):
    """A module that only this process's sys.path leads to."""
    (tmp_path / "isolated_work.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)


def run(name, request=None, seconds=SECONDS):
    return run_isolated(f"isolated_work:{name}", request or {}, seconds)


def test_it_runs_elsewhere_with_the_same_modules_at_hand():
    answer = run("echo", {"numbers": [1, 2.5], "text": "é"})
    assert answer["got"] == {"numbers": [1, 2.5], "text": "é"}
    assert answer["pid"] != os.getpid()
    assert answer["path"] == [os.path.abspath(entry) for entry in sys.path]


def test_what_it_prints_is_no_answer(capfd):
    assert run("shout") == "quiet"
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    "name, reason",
    [
        ("refuse", "it does not run here"),
        ("fail", "ValueError: a bug"),
        ("unknown", "AttributeError: .*'unknown'"),
        ("leave", "it crashed: its process ended with status 3"),
        ("leave_without_a_word", "its process ended without a result"),
    ],
)
def test_what_goes_wrong_is_an_error_with_the_reason(name, reason):
    with pytest.raises(IsolationError, match=f"^{reason}$"):
        run(name)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no signals to die of")
@pytest.mark.parametrize("name", ["die", "crash_at_the_end"])
def test_a_crash_is_survived_and_told(name):
    with pytest.raises(IsolationError, match=rf"it crashed: .* signal {int(signal.SIGSEGV)} \(SIGSEGV\)") as caught:
        run(name)
    assert ("it last said: last words" in str(caught.value)) == (name == "die")


def test_it_does_not_wait_for_ever():
    with pytest.raises(IsolationError, match=r"it did not finish within 0\.2 s"):
        run("sleep", seconds=0.2)


@pytest.mark.parametrize("executable", [None, ""])
def test_a_program_without_a_python_says_so(monkeypatch, executable):
    monkeypatch.setattr(sys, "executable", executable)
    with pytest.raises(IsolationError, match="brings no Python"):
        run("echo")


def test_a_python_that_does_not_start(monkeypatch):
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    with pytest.raises(IsolationError, match="no process could be started"):
        run("echo")
