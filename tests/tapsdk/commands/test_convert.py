"""`tapsdk convert`."""

import json
import subprocess
import sys

import pytest

from tapsdk import Tracks
from tapsdk.commands.main import main
from tapsdk.interchange.formats import FORMATS
from tests.tapsdk.interchange.made import awkward


@pytest.fixture
def saved(tmp_path):
    awkward().save(tmp_path / "tracks.npz")
    return str(tmp_path / "tracks.npz")


def test_the_suffix_says_the_format(saved, tmp_path):
    assert main(["convert", saved, str(tmp_path / "out.nk"), "--size", "240x150"]) == 0
    awkward().export(tmp_path / "same.nk", size=(150, 240))
    assert (tmp_path / "out.nk").read_bytes() == (tmp_path / "same.nk").read_bytes()


def test_or_an_option_does(saved, tmp_path):
    out = str(tmp_path / "out.json")
    assert main(["convert", saved, out, "--format", "coco", "--size", "240x150"]) == 0
    with open(out, encoding="ascii") as file:
        assert len(json.load(file)["images"]) == 6
    out = tmp_path / "out.txt"
    assert main(["convert", saved, str(out), "--format", "after-effects", "--size", "240x150", "--fps", "12.5"]) == 0
    assert "\tUnits Per Second\t12.5\n" in out.read_text()


@pytest.mark.parametrize("suffix", [".csv", ".json", ".npz"])
def test_files_of_tracks_become_one_another(saved, tmp_path, suffix):
    assert main(["convert", saved, str(tmp_path / f"out{suffix}")]) == 0
    assert Tracks.load(tmp_path / f"out{suffix}").xy.shape == (4, 6, 2)


def test_a_size_that_is_missing_is_asked_for_by_the_option(saved, tmp_path, capsys):
    assert main(["convert", saved, str(tmp_path / "out.nk")]) == 1
    assert "--size WIDTHxHEIGHT" in capsys.readouterr().err
    assert not (tmp_path / "out.nk").exists()


def test_it_replaces_no_input(saved, capsys):
    assert main(["convert", saved, saved]) == 1
    assert "would replace an input" in capsys.readouterr().err


@pytest.mark.parametrize("size", ["240", "0x150", "240x", "axb"])
def test_a_size_is_width_by_height(saved, tmp_path, size, capsys):
    with pytest.raises(SystemExit):
        main(["convert", saved, str(tmp_path / "out.nk"), "--size", size])
    assert "is not WIDTHxHEIGHT" in capsys.readouterr().err


def test_help_names_the_formats_and_loads_no_numpy():
    code = (
        "import sys\nfrom tapsdk.commands.main import main\n"
        "try:\n    main(['convert', '--help'])\nexcept SystemExit:\n    print('numpy' in sys.modules)"
    )
    text = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert text.endswith("False\n")
    assert all(name in text for name in FORMATS)
