"""How much memory there is, and how much somebody wants to give."""

import sys

import pytest

from tapsdk.errors import TapsdkError
from tapsdk.system import memory
from tapsdk.system.memory import free_memory, parse_bytes


@pytest.mark.parametrize(
    "text, bytes",
    [
        ("2GB", 2 * 10**9),
        ("2gb", 2 * 10**9),
        ("1.5 GiB", 3 * 2**29),
        ("800M", 8 * 10**8),
        ("64k", 64000),
        (" 3 TiB ", 3 * 2**40),
        ("123", 123),
        ("123B", 123),
        (4096, 4096),
    ],
)
def test_amounts(text, bytes):
    assert parse_bytes(text) == bytes


@pytest.mark.parametrize("text", ["", "GB", "-2GB", "2 GB or so", "2PB", "1e9", "0", 0, -5, 2.5, None, True, "0.1"])
def test_what_is_no_amount(text):
    with pytest.raises(TapsdkError, match="memory must be a number of bytes, or a text such as '2GB'"):
        parse_bytes(text)


@pytest.fixture
def system(monkeypatch, tmp_path):
    """Files in place of the system's, by name."""
    monkeypatch.setattr(memory, "MEMORY_FILE", tmp_path / "meminfo")
    monkeypatch.setattr(memory, "GROUP_FILES", [(tmp_path / "max", tmp_path / "current")])

    def write(**files):
        for name, text in files.items():
            (tmp_path / name).write_text(text)

    return write


MEMINFO = "MemTotal:       16000 kB\nMemFree:         1000 kB\nMemAvailable:    8000 kB\n"


def test_what_is_free_is_what_others_need_not_give_up(system):
    system(meminfo=MEMINFO)
    assert free_memory() == 8000 * 1024


@pytest.mark.parametrize(
    "limit, taken, left", [("5000000\n", "2000000\n", 3_000_000), ("max\n", "5\n", 8000 * 1024), ("10", "20", 0)]
)
def test_a_container_may_leave_less(system, limit, taken, left):
    system(meminfo=MEMINFO, max=limit, current=taken)
    assert free_memory() == left


@pytest.mark.parametrize("text", ["", "MemAvailable: many kB\n"])
def test_where_the_system_does_not_say_it_is_what_the_machine_has(system, text):
    system(meminfo=text)
    if sys.platform == "win32":
        assert free_memory() is None
    else:
        assert free_memory() > 1 << 24


def test_here_there_is_some():
    assert sys.platform == "win32" or free_memory() > 0
