"""Commands do not import what lies in the user's folder."""

import os
import sys

from tapsdk.system.imports import ignore_working_folder


def test_home_comes_first_and_the_working_folder_not_at_all(tmp_path, monkeypatch):
    home, here, other = (tmp_path / name for name in ("home", "here", "other"))
    here.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.setattr(sys, "path", ["", str(other), str(here), os.curdir, str(home)])
    ignore_working_folder(home)
    assert sys.path == [str(home), str(other), str(home)]


def test_a_checkout_that_is_the_working_folder_stays(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["", "elsewhere"])
    ignore_working_folder(tmp_path)
    assert sys.path == [str(tmp_path), "elsewhere"]
