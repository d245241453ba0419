import io
import sys

import pytest

from tapsdk.system.console import print_anything, tell


@pytest.mark.parametrize("encoding, errors", [("cp1252", "strict"), ("ascii", "surrogateescape"), ("utf-8", "strict")])
def test_what_a_stream_cannot_hold_is_written_as_an_escape(monkeypatch, encoding, errors):
    bytes_written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(bytes_written, encoding, errors))
    print_anything()
    print("видео \udcff", flush=True)  # a name that is not UTF-8 has surrogates
    assert bytes_written.getvalue().decode(encoding).replace("видео", r"\u0432\u0438\u0434\u0435\u043e") == (
        r"\u0432\u0438\u0434\u0435\u043e \udcff" + "\n"
    )


@pytest.mark.parametrize("stream", [None, object(), io.StringIO()], ids=["none", "foreign", "text"])
def test_streams_that_are_none_or_foreign_are_left_alone(monkeypatch, stream):
    monkeypatch.setattr(sys, "stdout", stream)
    print_anything()
    assert sys.stdout is stream


def test_a_line_goes_to_stderr(capsys):
    tell("stopped")
    assert capsys.readouterr() == ("", "stopped\n")


class Gone(io.StringIO):
    def write(self, text):
        raise OSError(5, "Input/output error")


def closed():
    stream = io.StringIO()
    stream.close()
    return stream


@pytest.mark.parametrize("stream", [None, Gone(), closed()], ids=["none", "hung up", "closed"])
def test_where_nobody_listens_nothing_is_said(monkeypatch, capsys, stream):
    monkeypatch.setattr(sys, "stderr", stream)
    tell("stopped")
    assert capsys.readouterr().out == ""
