import io
import logging
import os
import subprocess
import sys

import pytest

from tapsdk.system.console import console, log_to_stderr, say, tell
from tests.support import child_environment


@pytest.mark.parametrize("encoding, errors", [("cp1252", "strict"), ("ascii", "surrogateescape"), ("utf-8", "strict")])
def test_what_a_stream_cannot_hold_is_written_as_an_escape(monkeypatch, encoding, errors):
    bytes_written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(bytes_written, encoding, errors))
    with console():
        print("видео \udcff", flush=True)  # a name that is not UTF-8 has surrogates
    assert bytes_written.getvalue().decode(encoding).replace("видео", r"\u0432\u0438\u0434\u0435\u043e") == (
        r"\u0432\u0438\u0434\u0435\u043e \udcff" + "\n"
    )


class Gone(io.StringIO):
    def write(self, text):
        raise OSError(5, "Input/output error")

    def flush(self):
        raise OSError(5, "Input/output error")


def closed():
    stream = io.StringIO()
    stream.close()
    return stream


@pytest.mark.parametrize("stream", [io.StringIO(), Gone(), closed()], ids=["text", "hung up", "closed"])
def test_foreign_streams_are_left_alone(monkeypatch, stream):
    monkeypatch.setattr(sys, "stdout", stream)
    with console():
        assert sys.stdout is stream


def test_where_there_is_no_stream_there_is_one_that_leads_nowhere(monkeypatch):
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, None)
    with console():
        say("done")
        tell("stopped")
        for name in ("stdout", "stderr"):
            getattr(sys, name).close()


def test_a_line_goes_to_stderr(capsys):
    tell("stopped")
    assert capsys.readouterr() == ("", "stopped\n")


@pytest.mark.parametrize("stream", [None, Gone(), closed()], ids=["none", "hung up", "closed"])
def test_where_nobody_listens_nothing_is_said(monkeypatch, capsys, stream):
    monkeypatch.setattr(sys, "stderr", stream)
    tell("stopped")
    assert capsys.readouterr().out == ""


def test_a_terminal_gets_no_commands_from_names_of_files(capsys):
    named = "a\x1b[31m.mp4\r\x9b: \u202egpj.exe\nsecond\tline"
    shown = r"a\x1b[31m.mp4\r\x9b: \u202egpj.exe" + "\n" + r"second\tline" + "\n"
    tell(named)
    say(named)
    assert capsys.readouterr() == (shown, shown)


def test_a_log_gives_a_terminal_no_commands(monkeypatch):
    monkeypatch.setattr(logging.root, "handlers", [])
    heard = io.StringIO()
    monkeypatch.setattr(sys, "stderr", heard)
    log_to_stderr(logging.WARNING)
    logging.getLogger("test").warning("%s is dark", "a\x1b[31m.png")
    assert heard.getvalue() == r"WARNING a\x1b[31m.png is dark" + "\n"


NUMBERS = """
import os, sys
from tapsdk.system.console import console
with console():
    opened = os.open("out", os.O_WRONLY | os.O_CREAT)
    for number in range(3):
        os.write(number, b"a library in C") if number else os.read(number, 1)
    os.write(opened, str(opened > 2).encode())
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs a POSIX shell")
@pytest.mark.parametrize("closed", ["0", "1", "2", "12", "012"])
def test_a_file_never_gets_the_number_of_a_stream_that_was_closed(tmp_path, closed):
    closing = " ".join(f"{number}{'<' if number == '0' else '>'}&-" for number in closed)
    command = ["sh", "-c", f'exec "$0" -c "$1" {closing}', sys.executable, NUMBERS]
    result = subprocess.run(command, cwd=tmp_path, env=child_environment(), stdin=subprocess.DEVNULL, check=False)
    assert result.returncode == 0
    assert (tmp_path / "out").read_bytes() == b"True"


def test_what_nobody_reads_does_not_change_the_exit_status(tmp_path):
    code = (
        "import sys\nfrom tapsdk.system.console import console, tell\nwith console():\n    tell('hello')\nsys.exit(7)"
    )
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as nobody:
        command = [sys.executable, "-c", code]
        assert subprocess.run(command, env=child_environment(), stderr=nobody, check=False).returncode == 7
