"""TAPVid-3D made from annotations on a server and pictures that somebody has."""

import io
import os
import sys
import zipfile

import numpy as np
import pytest

pytest.importorskip("PIL", reason="datasets need Pillow: pip install '.[train]'")

from tapsdk.artifact import download
from tests.training.data.annotate.site import serving
from tests.training.data.scene3d import FRAMES, scene
from training.__main__ import main
from training.data.annotate import adt
from training.data.annotate.adt import AdtPictures
from training.data.annotate.making import SourceFolder, make
from training.data.errors import DatasetError
from training.data.images import encode_jpeg
from training.data.readers.tapvid3d import PICTURES, read_tapvid3d, write_tapvid3d
from training.data.tapvid3d import names_of, recording_of


@pytest.fixture
def site(monkeypatch):
    monkeypatch.setattr(download, "BACKOFF_SECONDS", ())
    with serving() as served:
        yield served


@pytest.fixture
def annotations(site, tmp_path):
    """Puts the annotations of a source's first videos of minival on the server; with pictures for drivetrack."""

    def publish(source, count, **more):
        names = names_of(source, "minival")[:count]
        for seed, name in enumerate(names):
            write_tapvid3d(tmp_path / "made.npz", scene(name, seed=seed, moving=source != "pstudio"))
            arrays = dict(np.load(tmp_path / "made.npz")) | more
            if source != "drivetrack":
                del arrays[PICTURES]
            file = io.BytesIO()
            np.savez(file, **arrays)
            site.files[f"{source}/{name}.npz"] = file.getvalue()
        (tmp_path / "made.npz").unlink()
        return names

    return publish


@pytest.fixture
def annotate(site, tmp_path):
    def run(source, *more, most=2):
        arguments = ["--most", str(most), "--url", site.url, "-o", str(tmp_path / "out"), "--accept-licence"]
        return main(["annotate", source, *arguments, *map(str, more)])

    return run


def files(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.npz"))


def test_drivetrack_is_fetched_whole_and_only_once(annotations, annotate, site, tmp_path, capsys):
    names = annotations("drivetrack", 2)
    assert annotate("drivetrack") == 0
    output = capsys.readouterr()
    assert output.out == f"{tmp_path / 'out' / 'drivetrack'}: 2 videos, 2 of them new\n"
    assert "Waymo Open Dataset" in output.err and "CC BY 4.0" in output.err
    assert files(tmp_path / "out") == [f"drivetrack/{name}.npz" for name in names]
    video = read_tapvid3d(tmp_path / "out" / "drivetrack" / f"{names[1]}.npz")
    np.testing.assert_array_equal(video.xyz, scene(seed=1).xyz)
    asked = len(site.asked)
    assert annotate("drivetrack") == 0
    assert len(site.asked) == asked and "0 of them new" in capsys.readouterr().out


def test_a_file_goes_on_from_where_it_broke_off(annotations, annotate, site, tmp_path, capsys):
    (name,) = annotations("drivetrack", 1)
    path = f"drivetrack/{name}.npz"
    site.breaks_after[path] = 5000
    assert annotate("drivetrack", most=1) == 1
    assert "5000 bytes are kept" in capsys.readouterr().err
    assert files(tmp_path / "out") == []
    assert annotate("drivetrack", most=1) == 0
    assert site.asked == [(path, 0), (path, 5000)]
    assert read_tapvid3d(tmp_path / "out" / path).name == name


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda site, path: site.stated.update({path: b"another"}), "its MD5 is not what the server states"),
        (lambda site, path: site.files.update({path: site.files[path][:5000]}), "is not a TAPVid-3D file"),
        (lambda site, path: site.files.update({path: b"<html>log in</html>"}), "sent a web page instead of a file"),
        (lambda site, path: site.files.pop(path), "answered 404"),
    ],
)
def test_what_is_not_the_file_never_has_its_name(annotations, annotate, site, tmp_path, capsys, spoil, says):
    first, second = annotations("drivetrack", 2)
    spoil(site, f"drivetrack/{first}.npz")
    assert annotate("drivetrack") == 1
    said = capsys.readouterr().err
    assert "1 of 2 videos of drivetrack could not be made" in said and says in said
    assert files(tmp_path / "out") == [f"drivetrack/{second}.npz"]
    assert not list((tmp_path / "out").rglob("*.part"))


def test_after_some_failures_in_a_row_no_more_are_tried(site, annotate, capsys):
    assert annotate("drivetrack", most=9) == 1
    assert "3 of 9 videos of drivetrack could not be made, and no more were tried" in capsys.readouterr().err
    assert len(site.asked) == 3


def test_half_a_file_of_another_program_is_made_anew(annotations, annotate, tmp_path, caplog):
    (name,) = annotations("drivetrack", 1)
    path = tmp_path / "out" / "drivetrack" / f"{name}.npz"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"PK half")
    assert annotate("drivetrack", most=1) == 0
    assert "it is made anew" in caplog.text and read_tapvid3d(path).name == name


def jpegs(seed, count=FRAMES):
    rng = np.random.default_rng(seed)
    return [encode_jpeg(rng.integers(0, 255, (36, 48, 3), np.uint8), 90) for _ in range(count)]


def write_studio(folder, names, count=FRAMES):
    """What is in Dynamic 3D Gaussians' archive, with other files among it."""
    for seed, name in enumerate(names):
        sequence, camera = name.split("_")
        place = folder / "data" / sequence / "ims" / camera
        place.mkdir(parents=True)
        for t, data in enumerate(jpegs(seed, count)):
            (place / f"{t:06d}.jpg").write_bytes(data)
        (folder / "data" / sequence / "train_meta.json").write_text("{}")
    with zipfile.ZipFile(folder / "data.zip", "w") as archive:
        for path in sorted((folder / "data").rglob("*")):
            archive.write(path, path.relative_to(folder).as_posix())


@pytest.mark.parametrize("given", ["fetched", "archive", "folder"])
def test_pstudio_gets_its_pictures_as_they_are(annotations, annotate, site, tmp_path, given):
    names = annotations("pstudio", 2)
    write_studio(tmp_path, names)
    site.files["data.zip"] = (tmp_path / "data.zip").read_bytes()
    videos = {"fetched": f"{site.url}/data.zip", "archive": tmp_path / "data.zip", "folder": tmp_path / "data"}[given]
    assert annotate("pstudio", "--videos", videos) == 0
    for seed, name in enumerate(names):
        path = tmp_path / "out" / "pstudio" / f"{name}.npz"
        assert np.load(path)[PICTURES].tolist() == jpegs(seed)
        assert read_tapvid3d(path).world_to_camera is None
    asked = len(site.asked)
    assert annotate("pstudio", "--videos", videos) == 0 and len(site.asked) == asked


def test_pstudio_says_what_its_pictures_lack(annotations, annotate, tmp_path, capsys, caplog):
    names = annotations("pstudio", 2)
    write_studio(tmp_path, names[:1], count=FRAMES - 1)
    assert annotate("pstudio", "--videos", tmp_path / "data.zip") == 1
    assert "the pictures of 1 of 2 videos are there" in caplog.text
    assert f"has 5 pictures of {names[0]}, its tracks 6 frames" in capsys.readouterr().err
    (tmp_path / "empty").mkdir()
    for path, says in (
        (tmp_path / "none.zip", "no such file or folder"),
        (tmp_path / "empty", "holds no pictures SEQUENCE/ims/CAMERA"),
        (tmp_path / "data" / names[0].split("_")[0] / "train_meta.json", "is no .zip"),
    ):
        assert annotate("pstudio", "--videos", path) == 1
        assert says in capsys.readouterr().err


def recordings(folder, names):
    for name in names:
        (folder / recording_of(name)).mkdir(parents=True, exist_ok=True)
    return folder


def frames_of(number, count=FRAMES):
    """What a recording shows in a video, as the sensor lies."""
    rng = np.random.default_rng(number)
    return [np.kron(rng.integers(0, 255, (8, 8, 3), np.uint8), np.ones((64, 64, 1), np.uint8)) for _ in range(count)]


def opened(folder):
    return lambda number: iter(frames_of(number))


def means_of(name):
    return np.array([frame.mean(axis=(0, 1)) for frame in frames_of(int(name.rpartition("_")[2]))])


def test_adt_gets_upright_pictures_and_its_camera(annotations, site, tmp_path):
    (name,) = names_of("adt", "minival")[:1]
    annotations("adt", 1, video_means=means_of(name), fx_fy_cx_cy=np.ones(4))
    pictures = AdtPictures(recordings(tmp_path / "sequences", [name]), opened)
    assert make(SourceFolder("adt", tmp_path / "out", site.url), [name], pictures) == (1, 1)
    video = read_tapvid3d(tmp_path / "out" / f"{name}.npz")
    np.testing.assert_array_equal(video.intrinsics, [280, 280, 256, 256])
    np.testing.assert_array_equal(video.world_to_camera, scene().world_to_camera)
    assert "video_means" not in np.load(tmp_path / "out" / f"{name}.npz").files
    sensor = frames_of(int(name.rpartition("_")[2]))
    # What is at the left of the sensor's picture is at the top of the upright one.
    np.testing.assert_allclose(video.frames[2, 32, 480], sensor[2][32, 32], atol=12)
    np.testing.assert_allclose(video.frames[2, 480, 32], sensor[2][480, 480], atol=12)


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"video_means": np.zeros((FRAMES, 3))}, "other colours than those that were annotated"),
        ({"video_means": np.zeros(3)}, "other colours than those that were annotated"),
        (
            {
                "tracks_XYZ": np.ones((5, 7, 3)),
                "visibility": np.ones((5, 7), bool),
                "extrinsics_w2c": np.ones((5, 4, 4)),
                "queries_xyt": np.zeros((7, 3)),
            },
            "its recording gives 6 frames, its tracks have 5",
        ),
    ],
)
def test_adt_refuses_frames_that_were_not_annotated(annotations, site, tmp_path, more, says):
    (name,) = annotations("adt", 1, **more)
    pictures = AdtPictures(recordings(tmp_path / "sequences", [name]), opened)
    with pytest.raises(DatasetError, match=says):
        make(SourceFolder("adt", tmp_path / "out", site.url), [name], pictures)
    assert files(tmp_path / "out") == [f"downloads/{name}.npz"]


def test_adt_makes_those_of_which_there_is_a_recording(annotations, site, tmp_path, caplog):
    names = annotations("adt", 6)
    some = [name for name in names if recording_of(name) == recording_of(names[0])]
    pictures = AdtPictures(recordings(tmp_path / "sequences", names[:1]), opened)
    assert make(SourceFolder("adt", tmp_path / "out", site.url), names, pictures)[0] == len(some)
    assert f"the pictures of {len(some)} of 6 videos are there" in caplog.text
    with pytest.raises(DatasetError, match="the pictures of none of these 1 videos of adt are there"):
        make(SourceFolder("adt", tmp_path / "out", site.url), ["Apartment_release_clean_seq999_0"], pictures)


def test_a_folder_that_is_no_recording_is_named(annotations, site, tmp_path):
    (name,) = annotations("adt", 1)

    def fails(folder):
        raise RuntimeError("no main_recording.vrs")

    pictures = AdtPictures(recordings(tmp_path / "sequences", [name]), fails)
    with pytest.raises(DatasetError, match=r"is not a sequence of Aria Digital Twin.*no main_recording\.vrs"):
        make(SourceFolder("adt", tmp_path / "out", site.url), [name], pictures)


def test_without_arias_tools_or_sequences_adt_says_what_it_needs(annotate, site, monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(sys.modules, "projectaria_tools", None)
    assert annotate("adt", "--videos", tmp_path) == 1
    assert "pip install 'tapsdk[adt]'" in capsys.readouterr().err
    monkeypatch.setattr(adt, "_calibration", lambda: None)
    for more in ([], ["--videos", tmp_path / "none"]):
        assert annotate("adt", *more) == 1
        assert "aria_dataset_downloader --cdn_file LIST -o FOLDER -d 0 6 7 8" in capsys.readouterr().err
    assert not site.asked


def test_arias_pictures_are_undistorted_to_the_datasets_camera():
    """A pinhole camera of twice the resolution shows the same, half as large."""
    calibration = pytest.importorskip("projectaria_tools.core", reason="needs '.[adt]'").calibration
    here = calibration.get_linear_camera_calibration(1, 1, 1).get_transform_device_camera()
    camera = calibration.CameraCalibration(
        "camera-rgb",
        calibration.CameraModelType.LINEAR,
        np.array([560.0, 560, 512, 512]),
        here,
        1024,
        1024,
        None,
        np.pi,
        "source",
    )
    picture = np.kron(frames_of(0, 1)[0], np.ones((2, 2, 1), np.uint8))
    np.testing.assert_allclose(adt.undistorted(picture, camera)[::64, ::64][1:, 1:], frames_of(0, 1)[0][96::64, 96::64])


def test_nothing_is_fetched_before_somebody_agrees(site, tmp_path, capsys, monkeypatch):
    arguments = ["annotate", "pstudio", "--url", site.url, "-o", str(tmp_path / "out")]
    monkeypatch.setattr("sys.stdin", io.StringIO("yes\n"))
    assert main(arguments) == 1
    said = capsys.readouterr().err
    assert "http://domedb.perception.cs.cmu.edu/" in said and "add --accept-licence" in said
    assert not site.asked and not (tmp_path / "out").exists()


@pytest.mark.parametrize(("answer", "status"), [("no", 1), ("yes", 0)])
def test_at_a_terminal_one_may_answer(annotations, site, tmp_path, capsys, monkeypatch, answer, status):
    annotations("drivetrack", 1)
    keyboard, terminal = pytest.importorskip("pty", reason="needs a terminal of Unix").openpty()
    os.write(keyboard, f"{answer}\n".encode())
    with os.fdopen(terminal) as stdin:
        monkeypatch.setattr("sys.stdin", stdin)
        arguments = ["--most", "1", "--url", site.url, "-o", str(tmp_path / "out")]
        assert main(["annotate", "drivetrack", *arguments]) == status
    os.close(keyboard)
    assert ("as you do not agree" in capsys.readouterr().err) == (answer == "no")
    assert bool(site.asked) == (answer == "yes")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["drivetrack", "--most", "0"], "--most must be 1 or more, got 0"),
        (["drivetrack", "--videos", "x"], "drivetrack comes with its pictures"),
    ],
)
def test_what_makes_no_sense_is_said(arguments, says, capsys):
    assert main(["annotate", *arguments, "--accept-licence"]) == 1
    assert says in capsys.readouterr().err
