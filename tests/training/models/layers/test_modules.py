"""Layers that both frameworks have of our own: padding as XLA pads, and batch normalisation as Haiku trains it."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch: pip install '.[train]'")
jax = pytest.importorskip("jax", reason="needs JAX: pip install '.[jax]'")
pytest.importorskip("equinox", reason="needs Equinox: pip install '.[jax]'")

import jax.numpy as jnp  # noqa: E402

from training.models.layers import modules_jax, modules_torch  # noqa: E402

WIDTH = 5


@pytest.mark.parametrize("kernel, stride", [(7, 2), (3, 2), (3, 1), (1, 2), (1, 1)])
@pytest.mark.parametrize("size", [(8, 8), (9, 12), (10, 7), (1, 1), (3, 2)])
def test_sides_are_padded_as_xla_pads_them(kernel, stride, size):
    sides = jax.lax.padtype_to_pads(size, (kernel, kernel), (stride, stride), "SAME")
    x = np.random.default_rng(0).standard_normal((2, *size, 3)).astype(np.float32)
    expected = np.pad(x, ((0, 0), *sides, (0, 0)), constant_values=-2.0)
    np.testing.assert_array_equal(modules_jax.same_pad(jnp.asarray(x), kernel, stride, -2.0), expected)
    in_torch = modules_torch.same_pad(torch.from_numpy(x).permute(0, 3, 1, 2), kernel, stride, -2.0)
    np.testing.assert_array_equal(in_torch.permute(0, 2, 3, 1), expected)


def arrays(seed=0):
    """A batch [F, H, W, C], and the four arrays of a layer by name."""
    rng = np.random.default_rng(seed)
    x = rng.normal(2.0, 3.0, (4, 6, 7, WIDTH)).astype(np.float32)
    names = ("weight", "bias", "running_mean", "running_var")
    return x, {name: rng.uniform(0.5, 2, WIDTH).astype(np.float32) for name in names}


def in_torch(x, layer, training):
    """What comes out, and the layer's arrays afterwards."""
    norm = modules_torch.BatchNorm(WIDTH).train(training)
    norm.load_state_dict({name: torch.from_numpy(array) for name, array in layer.items()})
    out = norm(torch.from_numpy(x).permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
    return out.detach().numpy(), {name: tensor.numpy() for name, tensor in norm.state_dict().items()}


def in_jax(x, layer, training):
    norm = modules_jax.from_weights(modules_jax.BatchNorm(WIDTH), layer)
    moved = [] if training else None
    out = norm(jnp.asarray(x), moved)
    return np.asarray(out), layer | (modules_jax.running_means(norm, moved) if training else {})


@pytest.fixture(params=[in_torch, in_jax], ids=["torch", "jax"])
def run(request):
    return request.param


def test_a_trained_layer_goes_by_its_running_means(run):
    x, layer = arrays()
    out, after = run(x, layer, training=False)
    scale = layer["weight"] / np.sqrt(layer["running_var"] + 1e-5)
    np.testing.assert_allclose(out, (x - layer["running_mean"]) * scale + layer["bias"], rtol=1e-4, atol=1e-5)
    assert all(np.array_equal(after[name], array) for name, array in layer.items())


def test_in_training_it_goes_by_the_batch_which_moves_them_by_a_tenth(run):
    x, layer = arrays()
    out, after = run(x, layer, training=True)
    mean, var = x.mean((0, 1, 2)), x.var((0, 1, 2))
    expected = (x - mean) / np.sqrt(var + 1e-5) * layer["weight"] + layer["bias"]
    np.testing.assert_allclose(out, expected, rtol=1e-4, atol=1e-4)
    for name, value in (("running_mean", mean), ("running_var", var)):
        np.testing.assert_allclose(after[name], 0.9 * layer[name] + 0.1 * value, rtol=1e-4)


def test_the_frameworks_decay_alike():
    assert modules_jax.DECAY == modules_torch.DECAY == 0.9


def test_running_means_go_by_the_names_of_the_layers():
    layers = [[modules_jax.BatchNorm(WIDTH)], [modules_jax.BatchNorm(WIDTH), modules_jax.BatchNorm(WIDTH)]]
    moved = [(jnp.full(WIDTH, i), jnp.full(WIDTH, i + 10)) for i in range(3)]
    found = modules_jax.running_means(layers, moved)
    assert {name: int(array[0]) for name, array in found.items()} == {
        "0.0.running_mean": 0,
        "0.0.running_var": 10,
        "1.0.running_mean": 1,
        "1.0.running_var": 11,
        "1.1.running_mean": 2,
        "1.1.running_var": 12,
    }


def in_a_process(rank, place, folder):
    """One of two, which see half of the frames each."""
    torch.distributed.init_process_group("gloo", init_method=f"file://{place}", rank=rank, world_size=2)
    x, layer = arrays()
    np.savez(folder / f"{rank}.npz", **with_gradient(x[2 * rank : 2 * rank + 2], layer))
    torch.distributed.destroy_process_group()


def with_gradient(x, layer):
    """Output, running means, and gradients of a mean over all that comes out."""
    norm = modules_torch.BatchNorm(WIDTH)
    norm.load_state_dict({name: torch.from_numpy(array) for name, array in layer.items()})
    x = torch.from_numpy(x).permute(0, 3, 1, 2).contiguous().requires_grad_()
    out = norm(x)
    (out**3).mean().backward()
    found = {"out": out, "x": x.grad, "scale": norm.weight.grad, "mean": norm.running_mean, "var": norm.running_var}
    return {name: tensor.detach().numpy() for name, tensor in found.items()}


@pytest.mark.slow
def test_processes_that_train_together_normalise_as_one(tmp_path):
    torch.multiprocessing.spawn(in_a_process, (tmp_path / "meeting", tmp_path), nprocs=2)
    first, second = (dict(np.load(tmp_path / f"{rank}.npz")) for rank in range(2))
    whole = with_gradient(*arrays())
    for name in ("mean", "var"):
        np.testing.assert_allclose(first[name], whole[name], rtol=1e-5)
        np.testing.assert_array_equal(first[name], second[name])
    np.testing.assert_allclose(np.concatenate([first["out"], second["out"]]), whole["out"], atol=1e-5)
    np.testing.assert_allclose((first["scale"] + second["scale"]) / 2, whole["scale"], rtol=1e-4)
    # Of the mean over processes, half of each one's own.
    np.testing.assert_allclose(np.concatenate([first["x"], second["x"]]) / 2, whole["x"], atol=1e-6)
