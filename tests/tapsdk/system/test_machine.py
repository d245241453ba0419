"""What the machine says of itself."""

import json
import subprocess
import sys

import pytest

from tapsdk.system import machine
from tapsdk.system.machine import (
    cores,
    describe_machine,
    fingerprint,
    peak_memory,
    processor,
    return_memory,
)
from tests.support import ROOT


def test_reports_are_json_and_say_something():
    for report in (describe_machine(), fingerprint()):
        assert json.loads(json.dumps(report)) == report
        assert all(report.values())


def test_the_fingerprint_does_not_change():
    assert fingerprint() == fingerprint()


@pytest.mark.parametrize(
    "text, name",
    [
        ("processor: 0\nmodel name\t: Core Duo\n\nprocessor: 1\nmodel name\t: Core Duo\n", "Core Duo"),
        ("CPU implementer\t: 0x41\nCPU part\t: 0xd0c\n", "0x41 0xd0c"),
    ],
)
def test_processors_as_linux_names_them(monkeypatch, tmp_path, text, name):
    (tmp_path / "cpuinfo").write_text(text)
    monkeypatch.setattr(machine, "PROCESSOR_FILE", tmp_path / "cpuinfo")
    assert processor() == name


@pytest.mark.parametrize("text", ["", "nothing that anyone knows", "a: b\n", None])
def test_a_processor_without_a_name_is_still_something(monkeypatch, tmp_path, text):
    if text is not None:
        (tmp_path / "cpuinfo").write_text(text)
    monkeypatch.setattr(machine, "PROCESSOR_FILE", tmp_path / "cpuinfo")
    assert processor()


def test_cores():
    assert cores() >= 1


@pytest.mark.skipif(sys.platform == "win32", reason="Windows does not tell")
def test_peak_memory_is_of_the_process_alone():
    ours = peak_memory()
    held = bytearray(300 << 20)
    held[:: 1 << 12] = b"x" * len(held[:: 1 << 12])
    assert peak_memory() >= max(ours, 300 << 20)
    code = "from tapsdk.system.machine import peak_memory; print(peak_memory())"
    child = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert (5 << 20) < int(child.stdout) < (200 << 20)


def test_memory_is_given_back_wherever_that_can_be_asked_for(monkeypatch):
    return_memory()

    def no_library(name):
        raise TypeError(name)

    monkeypatch.setattr(machine.ctypes, "CDLL", no_library)
    return_memory()
