"""COCO and CVAT."""

import json
from xml.etree import ElementTree

import numpy as np
import pytest

from tests.tapsdk.interchange.made import SIZE, awkward, plain


def coco(tracks, path, **scene):
    tracks.export(path, "coco", size=SIZE, **scene)

    def refuse(name):
        raise AssertionError(f"{name} is no JSON")

    return json.loads(path.read_text("ascii"), parse_constant=refuse)


def cvat(tracks, path):
    """The root, and {id: {frame: (outside, occluded, x, y)}}."""
    tracks.export(path, "cvat", size=SIZE)
    root = ElementTree.parse(path).getroot()
    found = {}
    for track in root.findall("track"):
        assert track.get("label") == root.findtext("meta/task/labels/label/name") == "point"
        frames = found[int(track.get("id"))] = {}
        for point in track.findall("points"):
            assert point.get("keyframe") == "1" and point.get("z_order") == "0"
            flags = [{"0": False, "1": True}[point.get(name)] for name in ("outside", "occluded")]
            frames[int(point.get("frame"))] = (*flags, *map(float, point.get("points").split(",")))
    return root, found


def test_coco_has_the_published_fields(tmp_path):
    document = coco(awkward(), tmp_path / "keypoints.json")
    (category,) = document["categories"]
    assert category["keypoints"] == ["0", "7", "12", str(2**62 + 1)] and category["skeleton"] == []
    assert [image["id"] for image in document["images"]] == [1, 2, 3, 4, 5, 6]
    assert all((image["height"], image["width"]) == SIZE for image in document["images"])
    for annotation in document["annotations"]:
        fields = {"id", "image_id", "category_id", "iscrowd", "area", "bbox", "segmentation"}
        assert set(annotation) == fields | {"num_keypoints", "keypoints"}
        assert annotation["category_id"] == category["id"] and annotation["iscrowd"] == 0
        x, y, v = np.reshape(annotation["keypoints"], (-1, 3)).T
        assert annotation["num_keypoints"] == (v > 0).sum() > 0
        left, top, width, height = annotation["bbox"]
        assert (left, top) == (x[v > 0].min(), y[v > 0].min())
        assert left + width == pytest.approx(x[v > 0].max()) and top + height == pytest.approx(y[v > 0].max())


def test_coco_tells_visible_hidden_and_outside(tmp_path):
    tracks = awkward()
    document = coco(tracks, tmp_path / "keypoints.json")
    points = np.array([np.reshape(a["keypoints"], (-1, 3)) for a in document["annotations"]])
    v = points[..., 2].T
    assert v[0].tolist() == [2, 2, 1, 1, 2, 2]
    assert v[1].tolist() == [2, 2, 0, 2, 0, 2]  # no position; outside
    assert v[2].tolist() == [0, 1, 1, 1, 1, 1]
    assert (points[v.T == 0, :2] == 0).all()
    np.testing.assert_allclose(points[v.T > 0, :2], tracks.xy.swapaxes(0, 1)[v.T > 0], atol=6e-5)


def test_a_point_that_is_seen_outside_the_frame_is_not_labelled_there(tmp_path):
    tracks = plain(2, 1)
    tracks.xy[1] = 240.5, 10
    (annotation,) = coco(tracks, tmp_path / "keypoints.json")["annotations"]
    assert annotation["keypoints"] == [1.5, 2.25, 2, 0, 0, 0]


def test_images_are_called_as_they_are(tmp_path):
    names = ["a b.png", 'é "quoted".png']
    document = coco(plain(1, 2), tmp_path / "keypoints.json", images=names)
    assert [image["file_name"] for image in document["images"]] == names


@pytest.mark.parametrize(("points", "frames"), [(0, 3), (1, 1), (2, 0), (0, 0)])
def test_few_points_and_few_frames(tmp_path, points, frames):
    tracks = plain(points, frames)
    document = coco(tracks, tmp_path / "keypoints.json")
    assert len(document["images"]) == frames
    assert len(document["annotations"]) == (frames if points else 0)
    root, found = cvat(tracks, tmp_path / "tracks.xml")
    assert root.findtext("meta/task/size") == str(frames)
    assert len(found) == (points if frames else 0)


def test_pycocotools_reads_it(tmp_path):
    reader = pytest.importorskip("pycocotools.coco", reason="needs pycocotools: pip install pycocotools")
    coco(awkward(), tmp_path / "keypoints.json")
    found = reader.COCO(tmp_path / "keypoints.json")
    (category,) = found.getCatIds("points")
    assert len(found.getImgIds(catIds=[category])) == 6
    (annotation,) = found.loadAnns(found.getAnnIds(imgIds=[3]))
    assert annotation["keypoints"][2::3] == [1, 0, 1, 2]


def test_cvat_has_the_published_fields(tmp_path):
    root, _ = cvat(awkward(), tmp_path / "tracks.xml")
    assert root.tag == "annotations" and root.findtext("version") == "1.1"
    task = root.find("meta/task")
    assert (task.findtext("size"), task.findtext("mode")) == ("6", "interpolation")
    assert (task.findtext("start_frame"), task.findtext("stop_frame")) == ("0", "5")
    assert (task.findtext("original_size/width"), task.findtext("original_size/height")) == ("240", "150")


def test_cvat_tells_visible_hidden_and_outside(tmp_path):
    tracks = awkward()
    _, found = cvat(tracks, tmp_path / "tracks.xml")
    assert list(found) == [0, 7, 12, 2**62 + 1]
    assert [frame[:2] for frame in found[0].values()] == [(False, t in (2, 3)) for t in range(6)]
    assert {t for t, frame in found[7].items() if frame[0]} == {2, 4}
    assert found[7][2][2:] == found[7][1][2:]  # without a position: where it was before
    assert list(found[12]) == [1, 2, 3, 4, 5] and all(frame[1] for frame in found[12].values())
    np.testing.assert_allclose([frame[2:] for frame in found[0].values()], tracks.xy[0], atol=6e-5)


def test_datumaro_reads_cvat(tmp_path):
    datumaro = pytest.importorskip("datumaro", reason="needs datumaro: pip install datumaro")
    cvat(awkward(), tmp_path / "annotations.xml")
    found = datumaro.Dataset.import_from(str(tmp_path), "cvat")
    frames = [item.annotations for item in found]
    assert [len(frame) for frame in frames] == [3, 4, 4, 4, 4, 4]
    assert [point.attributes["occluded"] for point in frames[2]] == [True, True, True, False]
    assert [point.attributes["outside"] for point in frames[4]] == [False, True, False, False]
