import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import safetensors.numpy
import torch

from tapsdk.errors import FetchError, ModelError
from tests.golden import official
from training.checkpoints import Canonical, CheckpointError, load_canonical, loading, save_canonical
from training.models import load
from training.models.registry import CONFIGS, parameter_shapes
from training.models.tapnext.official import as_published

TINY = "tapir/tiny"


def random_weights():
    rng = np.random.default_rng(0)
    return {name: 0.1 * rng.normal(size=s).astype(np.float32) for name, s in parameter_shapes(TINY).items()}


def canonical(model=TINY, config=None, weights=None):
    weights = random_weights() if weights is None else weights
    return Canonical(model, config or CONFIGS[model], weights, "source.pt", "00")


@pytest.fixture(autouse=True)
def nothing_at_hand(tmp_path, monkeypatch):
    """Neither weights of the repository nor a cache."""
    monkeypatch.setattr(loading, "OWN_WEIGHTS", tmp_path / "own")
    monkeypatch.setenv("TAPSDK_CACHE", str(tmp_path / "cache"))


def assert_has(module, weights):
    state = module.state_dict()
    assert state.keys() == weights.keys()
    for name, array in weights.items():
        np.testing.assert_array_equal(state[name].numpy(), array)


def test_a_torch_model_is_ready_for_inference():
    model = load(TINY, random_weights())
    assert isinstance(model, torch.nn.Module)
    assert not any(module.training for module in model.modules())
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    video, queries = torch.rand(1, 3, 64, 48, 3) * 2 - 1, torch.tensor([[[0.0, 20, 10], [2, 5, 40]]])
    with torch.inference_mode():
        clip = model.clip(video, queries)
        state = model.init(video[:, :1], queries)
        step, _ = model.step(video[:, :1], state)
    for outputs, frames in ((clip, 3), (step, 1)):
        assert outputs["tracks"].shape == (1, 2, frames, 2)
        assert outputs["occlusion"].shape == outputs["expected_dist"].shape == (1, 2, frames)


def test_a_mapping_of_arrays_may_be_read_only_and_of_any_precision():
    weights = {name: array.astype(np.float64) for name, array in random_weights().items()}
    for array in weights.values():
        array.setflags(write=False)
    assert_has(load(TINY, weights), {name: array.astype(np.float32) for name, array in weights.items()})


def test_loaded_weights_are_a_copy():
    weights = random_weights()
    model = load(TINY, weights)
    before = weights["mixer.embed.weight"].copy()
    with torch.no_grad():
        model.mixer.embed.weight.add_(1)
    np.testing.assert_array_equal(weights["mixer.embed.weight"], before)


@pytest.mark.parametrize("kind", [str, lambda path: path])
def test_canonical_weights(tmp_path, kind):
    path = tmp_path / "weights.safetensors"
    save_canonical(canonical(), path)
    assert_has(load(TINY, kind(path)), random_weights())


def test_an_official_file_is_converted_on_the_fly(tmp_path):
    shapes = official.tapir_shapes(boots=False, layout="torch")
    parameters = {name: np.full(s, i, np.float32) for i, (name, s) in enumerate(shapes.items())}
    path = official.write(tmp_path / "official.pt", parameters)
    model = load("tapir/causal", path)
    path.unlink()
    stem = parameters["resnet_torch.initial_conv.weight"]
    np.testing.assert_array_equal(model.resnet.stem.weight.detach(), stem)


def test_without_weights_the_repositorys_own_are_taken(tmp_path):
    (tmp_path / "own").mkdir()
    save_canonical(canonical(), tmp_path / "own" / "tapir-tiny.safetensors")
    assert_has(load(TINY), random_weights())
    assert_has(load("tapir"), random_weights())


def test_without_weights_the_fetched_file_is_taken(tmp_path, monkeypatch):
    path = tmp_path / "fetched.safetensors"
    weights = {name: np.ones(shape, np.float32) for name, shape in parameter_shapes("tapir/base").items()}
    save_canonical(canonical("tapir/base", weights=weights), path)
    monkeypatch.setattr(loading, "cached", lambda model: path if model == "tapir/base" else None)
    assert_has(load("tapir/base"), weights)
    path.unlink()


@pytest.mark.parametrize("model", ["tapir/base", "tapir/boots-causal", "tapnext/base", "trajan/base"])
def test_without_weights_at_hand_the_error_gives_the_two_ways_out(model):
    with pytest.raises(ModelError, match=rf"tapsdk fetch {model};.*--weights FILE"):
        load(model)


def test_a_fetched_file_that_changed_is_an_error(tmp_path, monkeypatch):
    def changed(model):
        raise FetchError("pinned is one, found was another")

    monkeypatch.setattr(loading, "cached", changed)
    with pytest.raises(FetchError, match="pinned"):
        load("tapir/base")


def test_a_model_on_larger_frames_has_the_weights_of_the_other(tmp_path, monkeypatch):
    monkeypatch.setattr(loading, "OWN_WEIGHTS", tmp_path)
    save_canonical(canonical(), tmp_path / "tapir-tiny.safetensors")
    model = load("tapir/small")
    assert_has(model, random_weights())
    assert model.config.resolution == (512, 512)


def test_weights_of_a_model_on_larger_frames_may_be_its_own(tmp_path):
    path = tmp_path / "w.safetensors"
    save_canonical(canonical("tapir/small"), path)
    assert load("tapir/small", path).config == CONFIGS["tapir/small"]
    with pytest.raises(CheckpointError, match=r"'tapir/small', not of 'tapir/tiny'"):
        load(TINY, path)


def test_a_model_on_larger_frames_takes_no_weights_of_another_configuration(tmp_path):
    save_canonical(canonical(config=replace(CONFIGS[TINY], softmax_temperature=7.0)), tmp_path / "w.safetensors")
    with pytest.raises(CheckpointError, match=r"another configuration of tapir/tiny: softmax_temperature 7\.0"):
        load("tapir/small", tmp_path / "w.safetensors")


def test_own_weights_that_are_missing_are_an_error():
    with pytest.raises(ModelError, match=r"tapir-tiny\.safetensors is missing"):
        load(TINY)


@pytest.mark.parametrize("name", ["tapir/huge", "", "cotracker", "tapir/"])
def test_unknown_models_are_an_error_that_lists_the_known(name):
    with pytest.raises(ModelError, match=r"tapir, tapir/tiny.*tapir/boots-causal"):
        load(name, {})


def test_unknown_frameworks_are_an_error_that_lists_the_known():
    with pytest.raises(ModelError, match="torch, jax"):
        load(TINY, random_weights(), framework="tensorflow")


def test_weights_that_do_not_fit_are_an_error_with_all_names():
    weights = random_weights()
    weights["extra"] = weights.pop("mixer.out.bias")
    weights["mixer.embed.weight"] = weights["mixer.embed.weight"][:5]
    with pytest.raises(CheckpointError) as caught:
        load(TINY, weights)
    assert caught.value.missing == ("mixer.out.bias",)
    assert caught.value.unexpected == ("extra",)
    assert caught.value.wrong_shape == ("mixer.embed.weight",)


def test_weights_of_another_model_are_an_error_that_names_both(tmp_path):
    path = tmp_path / "weights.safetensors"
    save_canonical(canonical(), path)
    with pytest.raises(CheckpointError, match=r"'tapir/tiny', not of 'tapir/base'"):
        load("tapir/base", path)


def test_weights_of_another_configuration_are_an_error_that_names_the_difference(tmp_path):
    path = tmp_path / "weights.safetensors"
    save_canonical(canonical(config=replace(CONFIGS[TINY], softmax_temperature=7.0)), path)
    with pytest.raises(CheckpointError, match=r"softmax_temperature 7\.0 \(here 20\.0\)"):
        load(TINY, path)


def test_a_setting_that_is_younger_than_the_weights_had_its_default(tmp_path, monkeypatch):
    path = tmp_path / "weights.safetensors"
    for temperature in (20.0, 7.0):
        config = replace(CONFIGS[TINY], softmax_temperature=temperature)
        monkeypatch.setitem(CONFIGS, TINY, config)
        save_canonical(canonical(config=config), path)
        forget_temperature(path)
        if temperature == type(config)().softmax_temperature:
            load(TINY, path)
        else:
            with pytest.raises(CheckpointError, match=r"softmax_temperature 20\.0 \(here 7\.0\)"):
                load(TINY, path)


def forget_temperature(path):
    weights, metadata = load_canonical(path)
    config = json.loads(metadata["config"])
    del config["softmax_temperature"]
    safetensors.numpy.save_file(weights, path, {**metadata, "config": json.dumps(config)})


@pytest.mark.parametrize("name", ["missing.safetensors", "missing.npy", "missing"])
def test_a_missing_file_is_an_error(tmp_path, name):
    with pytest.raises(CheckpointError, match="missing"):
        load(TINY, tmp_path / name)


def test_a_jax_model_has_the_same_weights_by_the_same_names():
    pytest.importorskip("equinox")
    from training.models.layers.modules_jax import named_parameters

    model, weights = load(TINY, random_weights(), framework="jax"), random_weights()
    parameters = named_parameters(model)
    assert parameters.keys() == weights.keys()
    for name, array in weights.items():
        np.testing.assert_array_equal(np.asarray(parameters[name]), array)


@pytest.mark.parametrize("model", CONFIGS)
def test_shapes_are_the_same_in_all_frameworks(model):
    pytest.importorskip("equinox")
    assert parameter_shapes(model, "jax") == parameter_shapes(model, "torch")


def test_frameworks_that_are_not_installed_are_an_error(monkeypatch):
    monkeypatch.setattr(loading.importlib.util, "find_spec", lambda package: None)
    with pytest.raises(ModelError, match=r"needs the package torch: pip install 'tapsdk\[torch\]'"):
        load(TINY, random_weights())


def test_jax_does_without_torch(tmp_path):
    pytest.importorskip("equinox")
    path = tmp_path / "weights.safetensors"
    save_canonical(canonical(), path)
    code = (
        "import sys; from training.models import load;"
        "load('tapir/tiny', sys.argv[1], framework='jax'); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code, str(path)], check=True)


def test_no_framework_is_imported_before_it_is_asked_for():
    code = (
        "import sys, json, training.models.registry, training.checkpoints.loading;"
        "print(json.dumps([m for m in ('torch', 'jax', 'equinox') if m in sys.modules]))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(result.stdout) == []


@pytest.mark.parametrize("layout", ["torch", "jax"])
def test_weights_run_as_the_code_that_made_them(tmp_path, layout):
    config = as_published(CONFIGS["tapnext/base"], layout)
    path = tmp_path / "weights.safetensors"
    save_canonical(canonical("tapnext/base", config, {"norm.weight": np.ones(3, np.float32)}), path)
    assert loading.config_for("tapnext/base", path, loading.read_weights("tapnext/base", path)[1]) == config
