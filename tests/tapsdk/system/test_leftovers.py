from tapsdk.system import leftovers


def test_what_is_noted_and_still_there_is_removed(tmp_path):
    names = ["file", "folder", "renamed", "missing"]
    for name in names:
        leftovers.note(tmp_path / name)
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "part").write_bytes(b"")
    (tmp_path / "renamed").write_bytes(b"")
    leftovers.forget(tmp_path / "renamed")
    leftovers.remove()
    assert [path.name for path in tmp_path.iterdir()] == ["renamed"]
    leftovers.remove()
