import io
import subprocess
import sys

import pytest

from tapsdk.system.progress import ByteBar, with_progress
from tests.support import child_environment


@pytest.mark.parametrize("force", [True, False])
def test_the_items_pass_through(force, capsys):
    assert list(with_progress(iter(range(5)), total=5, force=force)) == [0, 1, 2, 3, 4]


def test_a_bar_goes_to_stderr_when_forced(capsys):
    list(with_progress(range(3), total=3, label="tracking", force=True))
    out, err = capsys.readouterr()
    assert out == ""
    assert "tracking" in err
    assert "3/3" in err


def test_no_bar_where_there_is_no_terminal(capsys):
    list(with_progress(range(3), total=3, label="tracking"))
    assert capsys.readouterr() == ("", "")


def test_a_loop_may_leave_early(capsys):
    for item in with_progress(range(3), label="tracking", force=True):
        if item == 1:
            break
    assert "tracking" in capsys.readouterr().err


def test_a_forced_bar_shows_wherever_stderr_goes(monkeypatch):
    stderr = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stderr)
    assert list(with_progress(range(3), label="tracking", force=True)) == [0, 1, 2]
    assert "tracking" in stderr.getvalue()


@pytest.mark.parametrize("force", [True, False])
def test_without_stderr_there_is_no_bar(monkeypatch, force):
    monkeypatch.setattr(sys, "stderr", None)
    assert list(with_progress(range(3), force=force)) == [0, 1, 2]


def test_a_notebook_without_widgets_gets_a_bar_in_text_and_no_warning():
    script = """if True:
        import sys, types, warnings
        warnings.simplefilter("error")
        sys.modules["ipywidgets"] = None
        shell = types.SimpleNamespace(config={"IPKernelApp": {}})
        sys.modules["IPython"] = types.SimpleNamespace(get_ipython=lambda: shell)
        from tapsdk.system.progress import with_progress
        print(list(with_progress(range(3), label="tracking", force=True)))
    """
    done = subprocess.run([sys.executable, "-c", script], env=child_environment(), capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "[0, 1, 2]\n"), done.stderr
    assert "tracking" in done.stderr
    assert "arning" not in done.stderr


def test_widgets_that_fail_are_replaced_by_text(monkeypatch, capsys):
    def fail(*arguments, **options):
        raise AttributeError("'IProgress' object has no attribute 'style'")

    monkeypatch.setattr("tqdm.auto.tqdm", fail)
    assert list(with_progress(range(3), label="tracking", force=True)) == [0, 1, 2]
    assert "tracking" in capsys.readouterr().err


class Gone(io.StringIO):
    """A stream whose reader has left."""

    def write(self, text):
        raise BrokenPipeError(32, "Broken pipe")

    def flush(self):
        self.write("")

    def isatty(self):
        return True


@pytest.mark.parametrize("stream", [Gone(), None], ids=["gone", "none"])
def test_a_bar_that_nobody_sees_stops_nothing(monkeypatch, stream):
    monkeypatch.setattr(sys, "stderr", stream)
    for force in (True, False):
        assert list(with_progress(range(3), force=force)) == [0, 1, 2]
    with ByteBar("file", show=True) as bar:
        bar.at(1, 3)
        bar.at(3, 3)
