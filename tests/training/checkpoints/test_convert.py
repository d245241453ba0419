import hashlib
import logging

import numpy as np
import pytest
import safetensors.numpy

from tapsdk.errors import ModelError
from tests.golden import official
from tests.golden.official import write
from tests.training.checkpoints import toy
from training.__main__ import main
from training.checkpoints import CheckpointError, convert, load_canonical, save_canonical
from training.models.registry import model_names, parameter_names, parameter_shapes

LAYOUTS = {"torch": toy.torch_parameters, "jax": toy.jax_parameters}


@pytest.mark.parametrize(
    "suffix, layout",
    [(".npy", "jax"), (".npz", "jax"), (".pt", "torch"), (".ckpt", "torch"), (".npz", "torch"), (".pt", "jax")],
)
def test_every_format_and_layout_gives_the_same_weights(tmp_path, suffix, layout):
    path = tmp_path / f"official{suffix}"
    parameters = {k: np.ascontiguousarray(v) for k, v in LAYOUTS[layout]().items()}
    canonical = convert(write(path, parameters), "toy/base")
    expected = toy.our_parameters()
    assert canonical.weights.keys() == expected.keys()
    for name, array in expected.items():
        assert canonical.weights[name].flags.c_contiguous
        np.testing.assert_array_equal(canonical.weights[name], array)


def test_where_weights_come_from_is_kept(tmp_path):
    path = write(tmp_path / "official.pt", toy.torch_parameters())
    canonical = convert(path, "toy/base")
    assert (canonical.model, canonical.config) == ("toy/base", toy.CONFIGS["toy/base"])
    assert canonical.source == "official.pt"
    assert canonical.source_sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_tensors_that_are_no_parameters_are_passed_over(tmp_path):
    path = write(tmp_path / "official.pt", {**toy.torch_parameters(), "table": np.zeros((9, 9), np.float32)})
    assert convert(path, "toy/base").weights.keys() == toy.our_parameters().keys()


# Files that do not fit


def test_all_that_is_at_fault_is_reported_at_once(tmp_path):
    parameters = toy.torch_parameters()
    del parameters["stem.bias"]
    parameters["heads.weight"] = np.zeros((4, 7), np.float32)
    parameters["stem.weight"] = np.zeros(5, np.float32)
    parameters |= {f"extra_{i}": np.zeros(1, np.float32) for i in range(7)}
    with pytest.raises(CheckpointError) as caught:
        convert(write(tmp_path / "official.pt", parameters), "toy/base")
    error, message = caught.value, str(caught.value)
    assert error.missing == ("stem.bias",)
    assert error.unexpected == tuple(f"extra_{i}" for i in range(7))
    assert set(error.wrong_shape) == {"heads.weight", "stem.weight"}
    assert "1 missing (stem.bias)" in message
    assert "7 unexpected (extra_0, extra_1, extra_2, extra_3, extra_4 and 2 more)" in message
    assert "stem.weight [5] instead of [3, 2, 3, 3]" in message
    assert "heads.weight [4, 7], which becomes [2, 7] instead of [2, 3]" in message
    assert "\n" not in message


def test_axes_that_cannot_be_turned_are_a_wrong_shape(tmp_path):
    parameters = {k: np.ascontiguousarray(v) for k, v in toy.jax_parameters().items()}
    parameters["toy/~/stem/w"] = np.zeros((3, 3), np.float32)
    with pytest.raises(CheckpointError) as caught:
        convert(write(tmp_path / "official.npz", parameters), "toy/base")
    assert caught.value.wrong_shape == ("toy/~/stem/w",)
    assert "[3, 3] instead of [3, 2, 3, 3]" in str(caught.value)


def test_a_variant_that_the_file_does_fit_is_named(tmp_path):
    path = write(tmp_path / "official.pt", toy.torch_parameters(width=4))
    with pytest.raises(CheckpointError, match=r"The file fits toy/wide or toy/wide-causal"):
        convert(path, "toy/base")


def test_variants_of_the_same_shapes_cannot_be_told_apart(tmp_path):
    path = write(tmp_path / "official.pt", toy.torch_parameters(width=4))
    assert convert(path, "toy/wide").weights.keys() == convert(path, "toy/wide-causal").weights.keys()


@pytest.mark.parametrize("model, other", [("tapnet/base", "tapir/base"), ("tapir/base", "tapnet/base")])
def test_tapir_and_tapnet_are_told_apart(tmp_path, model, other):
    arrays = official.tapnet_arrays(seed=1) if model == "tapnet/base" else official.tapir_parameters(False, "jax", 1)
    path = official.write(tmp_path / "checkpoint.npy", arrays)
    with pytest.raises(CheckpointError, match=f"no parameter of {other}.*The file fits {model}"):
        convert(path, other)


def test_another_familys_file_is_recognised(tmp_path):
    path = write(tmp_path / "official.pt", toy.torch_parameters())
    with pytest.raises(CheckpointError, match=r"no parameter of tapir/base.*The file fits toy/base"):
        convert(path, "tapir/base")


def test_a_file_of_something_else_is_an_error(tmp_path):
    path = write(tmp_path / "other.npz", {"some": np.zeros(3), "thing": np.zeros(3)})
    with pytest.raises(CheckpointError, match="no parameter of toy/base; it has some, thing"):
        convert(path, "toy/base")


def test_canonical_weights_are_not_converted_again(tmp_path):
    path = tmp_path / "weights.safetensors"
    save_canonical(convert(write(tmp_path / "official.pt", toy.torch_parameters()), "toy/base"), path)
    with pytest.raises(CheckpointError, match="canonical weights already"):
        convert(path, "toy/base")


def test_official_names_in_safetensors_are_converted(tmp_path):
    path = tmp_path / "official.safetensors"
    safetensors.numpy.save_file(toy.torch_parameters(), path)
    assert convert(path, "toy/base").weights.keys() == toy.our_parameters().keys()


def test_an_empty_checkpoint_is_an_error(tmp_path):
    with pytest.raises(CheckpointError, match="no parameter of toy/base"):
        convert(write(tmp_path / "empty.pt", {}), "toy/base")


def test_unknown_models_are_an_error_that_lists_the_known(tmp_path):
    with pytest.raises(ModelError, match="tapir/boots-causal"):
        convert(tmp_path / "official.pt", "tapir/huge")


# TAP-Net, whose batch normalisation is no parameter


def test_the_state_of_batch_normalisation_is_carried(tmp_path):
    arrays = official.tapnet_arrays(seed=3)
    path = official.write(tmp_path / "checkpoint.npy", arrays)
    weights = convert(path, "tapnet/base").weights
    place = "tap_net/~/tsm_resnet_video/tsm_resnet_unit_1/block_0/batch_norm_1"
    for ours, theirs in (
        ("weight", f"{place}/scale"),
        ("running_mean", f"state/{place}/~/mean_ema/average"),
        ("running_var", f"state/{place}/~/var_ema/average"),
    ):
        np.testing.assert_array_equal(weights[f"encoder.units.1.0.norm_1.{ours}"], arrays[theirs].ravel())


@pytest.mark.parametrize("state", [{}, None, [], {"module": None}], ids=str)
def test_parameters_without_their_state_are_said_to_lack_it(tmp_path, state):
    path = tmp_path / "checkpoint.npy"
    official.write(path, official.tapnet_arrays(seed=3))
    content = np.load(path, allow_pickle=True).item()
    np.save(path, {"params": content["params"], "state": state}, allow_pickle=True)
    with pytest.raises(
        CheckpointError, match=r"checkpoint\.npy lacks 'state', the running means .* which has both$"
    ) as caught:
        convert(path, "tapnet/base")
    assert len(caught.value.missing) == 24


def test_a_state_with_gaps_is_reported_by_name(tmp_path):
    arrays = official.tapnet_arrays(seed=3)
    name = next(name for name in arrays if name.endswith("/var_ema/average"))
    del arrays[name]
    with pytest.raises(CheckpointError, match="1 missing") as caught:
        convert(official.write(tmp_path / "checkpoint.npy", arrays), "tapnet/base")
    assert caught.value.missing == (name,)


def test_state_that_a_model_does_not_ask_for_is_no_fault(tmp_path):
    path = tmp_path / "official.npy"
    extra = {
        "state/toy/~/norm/~/mean_ema/average": np.zeros(3, np.float32),
        "state/toy/~/rng/key": np.zeros(2, np.uint32),
    }
    write(path, {**{k: np.ascontiguousarray(v) for k, v in toy.jax_parameters().items()}, **extra})
    assert convert(path, "toy/base").weights.keys() == toy.our_parameters().keys()


# The command


def run(*arguments):
    handlers = logging.getLogger().handlers[:]
    try:
        return main(["convert", *map(str, arguments)])
    finally:
        logging.getLogger().handlers[:] = handlers


def test_the_command_writes_canonical_weights(tmp_path, capsys):
    path = write(tmp_path / "official.pt", toy.torch_parameters())
    output = tmp_path / "weights.safetensors"
    assert run(path, "--model", "toy/base", "-o", output) == 0
    weights, metadata = load_canonical(output, "toy/base")
    np.testing.assert_array_equal(weights["conv.weight"], toy.our_parameters()["conv.weight"])
    assert metadata["source"] == "official.pt"
    assert str(output) in capsys.readouterr().out


@pytest.mark.parametrize("model", ["toy/wide", "toy/none"])
def test_the_command_fails_with_one_sentence_and_no_file(tmp_path, capsys, model):
    path = write(tmp_path / "official.pt", toy.torch_parameters())
    assert run(path, "--model", model, "-o", tmp_path / "weights.safetensors") == 1
    assert capsys.readouterr().err.startswith("error: ")
    assert [p.name for p in tmp_path.iterdir()] == ["official.pt"]


# The real tables


@pytest.mark.parametrize("model", [m for m in model_names() if not m.startswith("toy")])
def test_official_tables_name_every_parameter_once(model):
    names = parameter_names(model)
    assert len(set(names)) == len(names)
    assert set(names) == parameter_shapes(model).keys()
