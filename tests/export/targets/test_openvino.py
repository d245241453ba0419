"""OpenVINO: what only this target does."""

import numpy as np
import pytest

import tapsdk
from tapsdk.artifact import open_artifact
from tapsdk.errors import ArtifactError
from tests.support import SMALL, copy_artifact, import_or_skip, moving_texture

import_or_skip("onnx")
import_or_skip("torch")
pytest.importorskip("tapsdk.backends.openvino", reason="needs openvino: pip install 'tapsdk[export-openvino]'")

from tapsdk.backends.openvino import ov  # noqa: E402

STAGES = ["encode", "query", "step", "locate", "mixer"]


@pytest.fixture(scope="module")
def artifact(artifact_of):
    return artifact_of(SMALL, "openvino")


def test_a_stage_is_a_folder(artifact):
    assert sorted(path.name for path in artifact.glob("*.openvino")) == sorted(f"{name}.openvino" for name in STAGES)
    for name in STAGES:
        assert sorted(path.name for path in (artifact / f"{name}.openvino").iterdir()) == ["model.bin", "model.xml"]
    open_artifact(artifact).verify()


def test_sizes_are_open_where_the_manifest_says_so(artifact):
    for name, stage in open_artifact(artifact).manifest.stages.items():
        model = ov.Core().read_model(artifact / f"{name}.openvino" / "model.xml")
        for ports, specs in ((model.inputs, stage.inputs), (model.outputs, stage.outputs)):
            assert [port.any_name for port in ports] == [spec.name for spec in specs]
            for port, spec in zip(ports, specs, strict=True):
                open_axes = [axis for axis, size in enumerate(port.partial_shape) if size.is_dynamic]
                assert open_axes == [axis for axis, size in enumerate(spec.shape) if isinstance(size, str)]


def test_no_control_flow_and_no_sampling_of_features(artifact):
    for name in STAGES:
        model = ov.Core().read_model(artifact / f"{name}.openvino" / "model.xml")
        kinds = {operation.get_type_name() for operation in model.get_ops()}
        assert kinds.isdisjoint({"If", "Loop", "TensorIterator", "GridSample"})


def test_nothing_of_the_machine_that_exported_it_is_in_the_file(artifact):
    for path in artifact.rglob("*.xml"):
        text = path.read_text(encoding="utf-8")
        for trace in ("site-packages", "/home/", "/tmp/", ".py"):
            assert trace not in text, trace


@pytest.mark.parametrize("part", ["model.xml", "model.bin"])
def test_a_changed_part_of_a_stage_is_refused(artifact, tmp_path, part):
    damaged = copy_artifact(artifact, tmp_path / "damaged")
    path = damaged / "step.openvino" / part
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(ArtifactError, match=r"step\.openvino is not the file that was exported"):
        tapsdk.track(moving_texture(), [[5, 5]], damaged, backend="openvino:fused")


def test_it_runs_the_artifact_that_comes_with_the_package(bundled):
    video = moving_texture(4, 96, 160)
    xy = np.float32([[20, 30], [100.5, 60.25], [150, 5]])
    expected = tapsdk.track(video, xy, bundled, backend="onnxruntime:fused")
    found = tapsdk.track(video, xy, bundled, backend="openvino:fused")
    np.testing.assert_allclose(found.xy, expected.xy, atol=0.01)
    np.testing.assert_array_equal(found.visible, expected.visible)
