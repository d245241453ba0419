"""Devices of ONNX Runtime: a table, what is taken from it, and what is said where something is missing."""

import importlib.metadata

import numpy as np
import onnxruntime as ort
import pytest

from tapsdk import load, track
from tapsdk.backends import BACKENDS, Options, open_backend
from tapsdk.backends.devices import DEVICES
from tapsdk.backends.onnxruntime import OnnxRuntime
from tapsdk.backends.providers import PACKAGES, PROVIDERS, Provider, installed_packages, overlap, parse_device
from tapsdk.errors import BackendError
from tests.support import EXACT, copy_artifact, random_points

OTHERS = [word for word in PROVIDERS if word != "cpu"]
CPU = "CPUExecutionProvider"


class Sessions:
    """In place of onnxruntime.InferenceSession: computes on the processor, and says what it was asked to start with."""

    def __init__(self, monkeypatch):
        self.asked, self.started, self._real = [], True, ort.InferenceSession
        self.raises = None
        monkeypatch.setattr(ort, "InferenceSession", self)
        monkeypatch.setattr(ort, "get_available_providers", lambda: [row.name for row in PROVIDERS.values()])

    def __call__(self, graph, options, providers, **more):
        assert more == {"enable_fallback": 0}
        self.asked.append(providers)
        if self.raises:
            raise self.raises
        session = self._real(graph, options, providers=[CPU])
        names = [name for name, _ in providers] if self.started else [CPU]
        session.get_providers = lambda: names
        return session


@pytest.fixture
def sessions(monkeypatch):
    return Sessions(monkeypatch)


@pytest.fixture
def packages(monkeypatch):
    """Versions of packages that are installed, by name."""
    found = {}

    def version(name):
        if name not in found:
            raise importlib.metadata.PackageNotFoundError(name)
        return found[name]

    monkeypatch.setattr("importlib.metadata.version", version)
    return found


# The table


@pytest.mark.parametrize("word", PROVIDERS)
def test_every_row_says_what_it_needs_and_what_was_run(word):
    row = PROVIDERS[word]
    assert row.needs
    assert row.ran
    assert row.name.endswith("ExecutionProvider")
    assert row.package.startswith("onnxruntime")
    assert set(row.rest) <= set(PROVIDERS)


@pytest.mark.parametrize("backend", BACKENDS)
def test_what_a_backend_may_have_is_in_a_table(backend):
    table = PROVIDERS if backend == "onnxruntime" else DEVICES[backend]
    assert BACKENDS[backend].devices == tuple(table)
    assert all(row.needs and row.ran for row in table.values())


@pytest.mark.parametrize(
    "device, found",
    [
        (None, ("cpu", "")),
        ("cpu", ("cpu", "")),
        ("CPU", ("cpu", "")),
        ("cuda", ("cuda", "")),
        ("cuda:1", ("cuda", "1")),
        ("TensorRT:12", ("tensorrt", "12")),
        ("openvino:npu", ("openvino", "NPU")),
        ("openvino:gpu.1", ("openvino", "GPU.1")),
        ("coreml", ("coreml", "")),
    ],
)
def test_a_device_is_a_word_and_which(device, found):
    assert parse_device(device) == found


@pytest.mark.parametrize("device", ["npu:7", "gpu", "cuda1", ":1", "abacus"])
def test_an_unknown_word_lists_those_that_are_known(device):
    with pytest.raises(BackendError, match=f"has no device '{device}': it knows cpu, cuda, tensorrt, .* device 'cpu'"):
        parse_device(device)


@pytest.mark.parametrize(
    "device, hint",
    [
        ("cuda:x", "write cuda or cuda:1"),
        ("cuda:-1", "write cuda or cuda:1"),
        ("cuda:", "write cuda or cuda:1"),
        ("cpu:1", "write cpu$"),
        ("openvino:tpu", "write openvino or openvino:GPU"),
    ],
)
def test_what_cannot_stand_behind_the_colon(device, hint):
    with pytest.raises(BackendError, match=hint):
        parse_device(device)


# What providers are started with


@pytest.mark.parametrize("word", OTHERS)
def test_the_provider_comes_first_and_the_processor_last(sessions, word):
    open_backend("onnxruntime", Options(device=word))
    (asked,) = sessions.asked
    rest = [PROVIDERS[each].name for each in PROVIDERS[word].rest]
    assert [name for name, _ in asked] == [PROVIDERS[word].name, *rest, CPU]


@pytest.mark.parametrize("word", ["cuda", "tensorrt", "directml", "migraphx", "rocm"])
@pytest.mark.parametrize("number", ["0", "3"])
def test_the_number_chooses_the_device(sessions, word, number):
    engine = open_backend("onnxruntime", Options(device=f"{word}:{number}"))
    for name, options in sessions.asked[0]:
        assert name == CPU or options["device_id"] == number
    assert engine.describe().endswith(f"({PROVIDERS[word].name}, {word}:{number})")


def test_without_a_number_it_is_the_first(sessions):
    open_backend("onnxruntime", Options(device="cuda"))
    assert sessions.asked[0][0] == ("CUDAExecutionProvider", {"device_id": "0", "use_tf32": "0"})


def test_engines_that_are_compiled_are_kept_in_the_cache(sessions, own_cache):
    open_backend("onnxruntime", Options(device="tensorrt"))
    options = sessions.asked[0][0][1]
    assert options["trt_engine_cache_enable"] == "1"
    assert options["trt_engine_cache_path"].startswith(str(own_cache / "engines" / "tensorrt-"))
    open_backend("onnxruntime", Options(device="tensorrt:1"))
    assert sessions.asked[1][0][1]["trt_engine_cache_path"] != options["trt_engine_cache_path"]


@pytest.mark.parametrize("precision, half", [("fp32", None), ("bf16", None), ("fp16", "1"), ("int8", None)])
def test_half_precision_is_for_artifacts_that_were_verified_in_it(sessions, model, tmp_path, precision, half):
    artifact = copy_artifact(model, tmp_path / "a", lambda manifest: manifest.update(precision=precision))
    load(artifact, backend="onnxruntime:fused", device="tensorrt")
    tried, *opened = sessions.asked
    assert "trt_fp16_enable" not in tried[0][1]
    assert opened
    assert {providers[0][1].get("trt_fp16_enable") for providers in opened} == {half}


def test_directml_is_run_by_one_thread_at_a_time_and_without_memory_patterns(sessions, monkeypatch):
    engine = open_backend("onnxruntime", Options(device="directml"))
    assert engine._options.enable_mem_pattern is False
    assert engine._options.execution_mode == ort.ExecutionMode.ORT_SEQUENTIAL
    assert [word for word, row in PROVIDERS.items() if row.one_at_a_time] == ["directml"]


# What is missing


def test_a_provider_that_is_not_there_is_one_sentence_with_the_way_out(packages):
    packages["onnxruntime"] = "1.32.0"
    with pytest.raises(BackendError) as caught:
        open_backend("onnxruntime", Options(device="cuda:0"))
    assert str(caught.value) == (
        "backend 'onnxruntime' has no device 'cuda' here: onnxruntime 1.32.0 has cpu, and no CUDAExecutionProvider; it "
        "comes with onnxruntime-gpu (pip uninstall -y onnxruntime && pip install onnxruntime-gpu), and needs an NVIDIA "
        "GPU, CUDA and cuDNN 9, which PyTorch for CUDA brings, too"
    )


def test_the_right_package_without_the_provider_need_not_be_installed_again(packages):
    packages["onnxruntime-gpu"] = "1.32.0"
    with pytest.raises(BackendError, match=r"; this onnxruntime-gpu was built without it, and needs an NVIDIA GPU"):
        open_backend("onnxruntime", Options(device="cuda"))


@pytest.mark.parametrize("how", ["silence", "an error"])
def test_a_provider_that_does_not_start_is_no_reason_to_compute_elsewhere(sessions, how):
    sessions.started = how != "silence"
    sessions.raises = None if how == "silence" else RuntimeError("CUDA failure 100: no CUDA-capable device")
    with pytest.raises(BackendError, match=r"on device 'cuda:1' it does not start; it needs an NVIDIA GPU") as caught:
        open_backend("onnxruntime", Options(device="cuda:1"))
    told = "would compute on the processor in its place" if how == "silence" else "no CUDA-capable device"
    assert told in str(caught.value)


def test_the_environment_names_the_device(monkeypatch):
    monkeypatch.setenv("TAPSDK_ONNXRUNTIME_DEVICE", "cuda")
    with pytest.raises(BackendError, match=r"has no device 'cuda' here: .*TAPSDK_ONNXRUNTIME_DEVICE asks for 'cuda'"):
        open_backend("onnxruntime")


def test_auto_on_a_device_that_is_not_here_says_what_those_that_know_it_miss(model):
    with pytest.raises(BackendError) as caught:
        load(model, device="cuda")
    told = str(caught.value)
    assert told.startswith("no backend can run ")
    assert (
        "on device 'cuda' here: onnxruntime:fused, onnxruntime:native: backend 'onnxruntime' has no device 'cuda' here"
        in told
    )
    assert told.count("onnxruntime-gpu)") == 1
    assert "litert" not in told  # which never had one


# Packages


def test_packages_that_overwrite_each_other_are_found(packages):
    assert (installed_packages(), overlap()) == ({}, "")
    packages["onnxruntime"] = "1.32.0"
    assert (installed_packages(), overlap()) == ({"onnxruntime": "1.32.0"}, "")
    packages["onnxruntime-gpu"] = "1.31.0"
    assert overlap() == (
        "onnxruntime 1.32.0 and onnxruntime-gpu 1.31.0 overwrite each other's files; keep one: pip uninstall -y "
        "onnxruntime onnxruntime-gpu && pip install onnxruntime-gpu"
    )


def test_all_packages_are_in_the_table():
    assert PACKAGES[0] == "onnxruntime"
    assert len(set(PACKAGES)) == len(PACKAGES)


# A device that is not the processor, for all that the runtime knows


@pytest.fixture
def stand_in(monkeypatch):
    """A row for the processor that is not called so: everything goes the way of a GPU."""
    monkeypatch.setitem(PROVIDERS, "stand-in", Provider(CPU, "onnxruntime", "nothing", which=r"\d+", usual="0"))
    bound = []
    real = ort.IOBinding.bind_output

    def bind_output(self, name, *where):
        bound.append((name, where))
        return real(self, name, *where)

    monkeypatch.setattr(ort.IOBinding, "bind_output", bind_output)
    monkeypatch.setattr(OnnxRuntime, "_start", lambda self: None)
    return bound


def test_tracks_are_those_of_the_processor_on_any_number_of_points(stand_in, model, video):
    for count in (0, 1, 15, 17):
        points = random_points(count, video)
        expected = track(video, points, load(model, backend="onnxruntime:fused", device="cpu", threads=1))
        found = track(video, points, load(model, backend="onnxruntime", device="stand-in:2", threads=1, points=count))
        np.testing.assert_allclose(found.xy, expected.xy, atol=EXACT)
        assert found.report.path == "fused"
        assert found.report.backend.endswith(f"({CPU}, stand-in:2)")


def test_state_is_bound_where_the_provider_keeps_it_and_estimates_on_the_processor(stand_in, model, video):
    loaded = load(model, backend="onnxruntime:fused", device="stand-in:2", threads=1)
    stand_in.clear()
    track(video[:3], random_points(3, video), loaded)
    step = loaded.artifact.stage("step")
    state = {f"next_{t.name}" for t in step.with_role("state")}
    assert {where for name, where in stand_in if name in state} == {("cpu", 2)}
    assert {where for name, where in stand_in if name in ("xy", "occlusion", "features")} == {("cpu",)}


def test_kernels_between_stages_are_not_for_other_devices(stand_in, model):
    with pytest.raises(BackendError, match=r"the native plan computes on the processor.*use onnxruntime:fused, or dev"):
        load(model, backend="onnxruntime:native", device="stand-in")


@pytest.mark.parametrize("strict", [False, True])
def test_auto_takes_the_plan_that_is_for_the_device(stand_in, model, monkeypatch, strict):
    monkeypatch.setattr("tapsdk.backends.EngineInfo.may_have", lambda row, device: row.engine == "onnxruntime")
    loaded = load(model, device="stand-in", strict=strict)
    assert loaded.plan.name == "fused"
    assert "onnxruntime:native" not in {**loaded.milliseconds, **loaded.refused}
