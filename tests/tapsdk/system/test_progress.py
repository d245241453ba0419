import pytest

from tapsdk.system.progress import with_progress


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
