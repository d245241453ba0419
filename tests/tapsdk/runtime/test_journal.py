"""Work that goes on where it was left: results of calls are read in place of computed, as far as they go."""

import subprocess
import sys
from contextlib import ExitStack, closing

import numpy as np
import pytest

from tapsdk.errors import ResumeError, SaveError
from tapsdk.runtime import journal as module
from tapsdk.runtime.journal import NO_JOURNAL, Journal, read_checkpoint
from tests.support import child_environment, needs_kill

KEY = {"--model": "tapir/tiny", "--threads": None, "the frames' size": [48, 80]}
FRAMES = [np.full((2, 3), t, np.uint8) for t in range(6)]


class Work:
    """Adds the frames up, one after the other: a call for each, and a state in between."""

    def __init__(self, stop=None):
        self.sum, self.calls, self.stop, self.restored = 0.0, [], stop, []

    def call(self, t):
        if t == self.stop:
            raise KeyboardInterrupt
        self.calls.append(t)
        self.sum += float(FRAMES[t].sum())
        return {"sum": np.float64([self.sum]), "odd": np.array([[bool(t % 2)]])}

    def state(self):
        return {"sum": np.float64([self.sum])}

    def restore(self, state):
        self.restored.append(float(state["sum"][0]))
        self.sum = self.restored[-1]

    def run(self, journal, frames=FRAMES):
        found = []
        for t, frame in enumerate(frames):
            journal.saw(lambda frame=frame: frame)
            found.append(journal.once(lambda t=t: self.call(t), self.state, self.restore))
        journal.saw_all()
        return found


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "out.npz.resume"


@pytest.fixture
def opened(folder):
    """Gives the journal in the folder; they are closed in the end."""
    with ExitStack() as stack:
        yield lambda key=KEY: stack.enter_context(closing(Journal(folder, key)))


@pytest.fixture(autouse=True)
def always(monkeypatch):
    """A checkpoint after every call."""
    monkeypatch.setattr(module, "SECONDS", -1.0)


def stopped(folder, at, key=KEY):
    journal = Journal(folder, key)
    with pytest.raises(KeyboardInterrupt):
        Work(stop=at).run(journal)
    journal.close()


def same(one, other):
    assert [each.keys() for each in one] == [each.keys() for each in other]
    for a, b in zip(one, other, strict=True):
        for name in a:
            np.testing.assert_array_equal(a[name], b[name])
            assert a[name].dtype == b[name].dtype


@pytest.mark.parametrize("at", range(1, len(FRAMES)))
def test_going_on_gives_what_there_was_and_computes_the_rest(folder, opened, at):
    expected = Work().run(NO_JOURNAL)
    stopped(folder, at)
    work, journal = Work(), opened()
    same(work.run(journal), expected)
    assert work.calls == list(range(at, len(FRAMES)))
    assert work.restored == [float(expected[at - 1]["sum"][0])]
    journal.remove()
    assert not folder.exists()


def test_it_may_be_stopped_again_and_again(folder, opened):
    for at in range(1, len(FRAMES)):
        stopped(folder, at)
    work = Work()
    same(work.run(opened()), Work().run(NO_JOURNAL))
    assert work.calls == [len(FRAMES) - 1]


def test_what_comes_after_the_last_checkpoint_is_computed_again(folder, opened, monkeypatch):
    stopped(folder, 2)
    monkeypatch.setattr(module, "SECONDS", 1e9)
    journal = opened()
    with pytest.raises(KeyboardInterrupt):
        Work(stop=5).run(journal)
    journal.close()
    work = Work()
    same(work.run(opened()), Work().run(NO_JOURNAL))
    assert work.calls == [2, 3, 4, 5]


def test_before_the_first_checkpoint_there_is_nothing(folder, opened, monkeypatch):
    monkeypatch.setattr(module, "SECONDS", 1e9)
    stopped(folder, 3)
    assert not folder.exists()
    assert read_checkpoint(folder) is None


def test_what_is_kept_at_the_end_is_all(folder, opened, monkeypatch):
    monkeypatch.setattr(module, "SECONDS", 1e9)
    journal = opened()
    expected = Work().run(journal)
    journal.keep({})
    journal.close()
    work, again = Work(), opened()
    same(work.run(again), expected)
    assert work.calls == work.restored == []
    assert again.timed(3.0) == 0
    assert NO_JOURNAL.timed(3.0) == 3


def test_what_is_read_may_be_written_into(folder, opened):
    stopped(folder, 2)
    journal = opened()
    journal.saw(lambda: FRAMES[0])
    journal.once(lambda: {})["sum"][:] = 7


# What is refused


@pytest.mark.parametrize("name, value", [("--threads", 2), ("--model", "tapir/boots"), ("the frames' size", [80, 48])])
def test_other_options(folder, opened, name, value):
    stopped(folder, 2)
    with pytest.raises(ResumeError, match=f"{name} was .*, and now is .*; run it as before, or remove that folder"):
        opened({**KEY, name: value})
    Work().run(opened())


@pytest.mark.parametrize("place", [0, 1, 2])
def test_another_video(folder, opened, place):
    stopped(folder, 3)
    frames = [frame + (t == place) for t, frame in enumerate(FRAMES)]
    with pytest.raises(ResumeError, match="was tracked of another video"):
        Work().run(opened(), frames)


def test_a_video_that_only_goes_on_in_another_way_is_the_same_so_far(folder, opened):
    stopped(folder, 3)
    frames = [*FRAMES[:4], FRAMES[0]]
    assert len(Work().run(opened(), frames)) == 5


@pytest.mark.parametrize("length", [2, 3, 8])
def test_a_video_that_is_shorter_or_longer_than_it_was(folder, opened, length):
    journal = opened()
    Work().run(journal, FRAMES[:4])
    journal.keep({})
    journal.close()
    with pytest.raises(ResumeError, match="of another video"):
        Work().run(opened(), (FRAMES + FRAMES)[:length])


@pytest.mark.parametrize("damage", ["flipped", "cut", "empty"])
@pytest.mark.parametrize("name", ["checkpoint.npz", "results"])
def test_a_damaged_file(folder, opened, name, damage):
    stopped(folder, 3)
    data = bytearray((folder / name).read_bytes())
    data[3] ^= 255
    (folder / name).write_bytes({"flipped": bytes(data), "cut": bytes(data[: len(data) // 2]), "empty": b""}[damage])
    with pytest.raises(ResumeError, match="is not what an earlier run left to go on from"):
        Work().run(opened())


def test_a_folder_that_cannot_be(tmp_path):
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "none" / "out.resume", tmp_path / "file"):
        with pytest.raises(SaveError, match="could not write"):
            Journal(folder, KEY)


@needs_kill
def test_two_runs_at_once(folder, opened):
    first = opened()
    Work().run(first)
    code = (
        f"from pathlib import Path\nfrom tapsdk.runtime.journal import Journal\nJournal(Path({str(folder)!r}), {KEY})"
    )
    command = [sys.executable, "-c", code]
    other = subprocess.run(command, env=child_environment(), capture_output=True, text=True, check=False)
    assert f"another run is at work on {folder}" in other.stderr
    first.close()
    assert subprocess.run(command, env=child_environment(), check=False).returncode == 0
