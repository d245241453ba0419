"""OpenVINO: what only this target does."""

import re
from dataclasses import replace

import numpy as np
import pytest

import tapsdk
from tapsdk.artifact import open_artifact
from tapsdk.artifact.weights import WEIGHTS
from tapsdk.backends import open_backend
from tapsdk.errors import ArtifactError
from tests.support import SMALL, copy_artifact, import_or_skip, moving_texture

import_or_skip("onnx")
import_or_skip("torch")
pytest.importorskip("tapsdk.backends.openvino", reason="needs openvino: pip install 'tapsdk[export-openvino]'")

from tapsdk.backends.openvino import ov  # noqa: E402
from training.checkpoints import load_canonical  # noqa: E402

STAGES = ["encode", "query", "step", "locate", "mixer"]


@pytest.fixture(scope="module")
def artifact(artifact_of):
    return artifact_of(SMALL, "openvino")


def test_a_stage_is_one_file_and_all_have_their_weights_in_one(artifact):
    files = {f"{name}.xml" for name in STAGES} | {"manifest.json", "reference.npz", WEIGHTS}
    assert {path.name for path in artifact.iterdir()} == files
    open_artifact(artifact).verify()


def test_no_tensor_is_stored_twice_and_the_models_own_go_by_their_names(artifact, small_model):
    weights, own = open_artifact(artifact).weights(), load_canonical(small_model)[0]
    tensors = {name: weights.tensor(name) for name in weights.places}
    assert len({(t.dtype.str, t.tobytes()) for t in tensors.values()}) == len(tensors)
    named = {name: tensor for name, tensor in tensors.items() if name in own}
    assert len(named) > len(own) / 4
    for name, tensor in named.items():
        np.testing.assert_array_equal(tensor, own[name])


def test_sizes_are_open_where_the_manifest_says_so(artifact):
    for name, stage in open_artifact(artifact).manifest.stages.items():
        model = ov.Core().read_model(artifact / f"{name}.xml", artifact / WEIGHTS)
        for ports, specs in ((model.inputs, stage.inputs), (model.outputs, stage.outputs)):
            assert [port.any_name for port in ports] == [spec.name for spec in specs]
            for port, spec in zip(ports, specs, strict=True):
                open_axes = [axis for axis, size in enumerate(port.partial_shape) if size.is_dynamic]
                assert open_axes == [axis for axis, size in enumerate(spec.shape) if isinstance(size, str)]


def test_no_control_flow_and_no_sampling_of_features(artifact):
    for name in STAGES:
        model = ov.Core().read_model(artifact / f"{name}.xml", artifact / WEIGHTS)
        kinds = {operation.get_type_name() for operation in model.get_ops()}
        assert kinds.isdisjoint({"If", "Loop", "TensorIterator", "GridSample"})


def test_nothing_of_the_machine_that_exported_it_is_in_the_file(artifact):
    for path in artifact.rglob("*.xml"):
        text = path.read_text(encoding="utf-8")
        for trace in ("site-packages", "/home/", "/tmp/", ".py"):
            assert trace not in text, trace


@pytest.mark.parametrize("part", ["step.xml", WEIGHTS])
def test_a_changed_file_is_refused(artifact, tmp_path, part):
    damaged = copy_artifact(artifact, tmp_path / "damaged")
    path = damaged / part
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(ArtifactError, match=f"{re.escape(part)} is not the file that was exported"):
        tapsdk.track(moving_texture(), [[5, 5]], damaged, backend="openvino:fused")


def test_it_runs_the_artifact_that_comes_with_the_package(bundled):
    video = moving_texture(4, 96, 160)
    xy = np.float32([[20, 30], [100.5, 60.25], [150, 5]])
    expected = tapsdk.track(video, xy, bundled, backend="onnxruntime:fused")
    found = tapsdk.track(video, xy, bundled, backend="openvino:fused")
    np.testing.assert_allclose(found.xy, expected.xy, atol=0.01)
    np.testing.assert_array_equal(found.visible, expected.visible)


@pytest.mark.parametrize("offset", ["99999999999", "-8", "18446744073709551608", "0x10"])
def test_constants_outside_the_file_of_weights_are_refused(artifact, offset):
    opened = open_artifact(artifact)
    file = opened.file("locate", "openvino")
    hostile = re.sub(r'offset="\d+"', f'offset="{offset}"', file.data.decode(), count=1).encode()
    with pytest.raises(ArtifactError, match="openvino cannot load"):
        open_backend("openvino").open(replace(file, parts={"": hostile}), opened.stage("locate"))
