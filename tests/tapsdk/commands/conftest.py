"""What tests of several commands use."""

import pytest

from tapsdk.commands import main as cli


@pytest.fixture
def run(model, tmp_path, monkeypatch):
    """`tapsdk track` with the small model in an empty folder; gives the exit status."""
    monkeypatch.chdir(tmp_path)

    def track_small(*arguments):
        return cli.main(["track", "--model", str(model), "--backend", "onnxruntime:fused", *map(str, arguments)])

    return track_small
