"""Signals end a command as Ctrl-C does; sent by the process to itself, so that they come at a known point."""

import os
import signal
import subprocess
import sys
import threading

import pytest

from tapsdk.system.files import AtomicFile
from tapsdk.system.signals import ENDING, Ended, exit_status, hold_signals, signals_as_interrupts
from tests.support import child_environment, needs_kill

pytestmark = needs_kill


def send(name):
    os.kill(os.getpid(), getattr(signal, name))


@pytest.fixture(autouse=True)
def handlers_are_restored():
    """Whatever happens within; SIGHUP as it is for a program that was started anew."""
    numbers = [getattr(signal, name) for name in ENDING]
    outside = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    before = [signal.getsignal(number) for number in numbers]
    yield
    assert [signal.getsignal(number) for number in numbers] == before
    signal.signal(signal.SIGHUP, outside)


@pytest.mark.parametrize("name, status", [("SIGINT", 130), ("SIGTERM", 143), ("SIGHUP", 129)])
def test_each_is_an_interrupt_with_the_exit_status_of_shells(name, status):
    with pytest.raises(KeyboardInterrupt) as caught, signals_as_interrupts():
        send(name)
    assert exit_status(caught.value) == status


def test_a_plain_ctrl_c_has_its_exit_status():
    assert exit_status(KeyboardInterrupt()) == 130


def test_the_second_one_interrupts_what_the_first_one_began():
    done = []
    with pytest.raises(Ended), signals_as_interrupts():
        try:
            send("SIGTERM")
        finally:
            done.append("first")
            send("SIGTERM")
            done.append("not reached")
    assert done == ["first"]


def test_what_is_ignored_or_handled_by_others_stays_so():
    came = []
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    before = signal.signal(signal.SIGTERM, lambda number, frame: came.append(number))
    try:
        with signals_as_interrupts():
            send("SIGHUP")
            send("SIGTERM")
    finally:
        signal.signal(signal.SIGTERM, before)
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
    assert came == [signal.SIGTERM]


def test_other_threads_change_nothing():
    found = []

    def work():
        with signals_as_interrupts():
            found.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [signal.getsignal(signal.SIGTERM)]


def test_one_inside_the_other_is_one():
    with pytest.raises(Ended), signals_as_interrupts():
        with signals_as_interrupts():
            pass
        send("SIGTERM")


def test_no_temporary_file_is_left_wherever_it_came(tmp_path):
    unfinished = []
    with pytest.raises(Ended), signals_as_interrupts():
        unfinished.append(AtomicFile(tmp_path / "result"))
        send("SIGTERM")
    assert list(tmp_path.iterdir()) == []
    unfinished[0].file.close()


def test_what_is_held_is_done_first():
    done = []
    with pytest.raises(Ended), signals_as_interrupts():
        with hold_signals():
            send("SIGTERM")
            done.append("whole")
        done.append("not reached")
    assert done == ["whole"]


def test_what_is_held_last_ends_well():
    with signals_as_interrupts(), hold_signals(last=True):
        send("SIGTERM")


def test_a_second_one_does_not_wait():
    with pytest.raises(Ended), signals_as_interrupts(), hold_signals():
        send("SIGTERM")
        send("SIGINT")
        raise AssertionError("not reached")


def test_holding_changes_nothing_where_no_command_runs():
    with pytest.raises(KeyboardInterrupt), hold_signals():
        raise KeyboardInterrupt


def test_a_forked_child_ends_as_it_would_have():
    script = """if True:
        import os, signal
        from tapsdk.system.signals import signals_as_interrupts

        with signals_as_interrupts():
            child = os.fork()
            if not child:
                os.kill(os.getpid(), signal.SIGTERM)
                os._exit(0)
            print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    """
    done = subprocess.run([sys.executable, "-c", script], env=child_environment(), capture_output=True, text=True)
    assert (done.stdout, done.stderr) == (f"{-signal.SIGTERM}\n", "")
