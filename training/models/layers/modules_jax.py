"""The layers that the families are made of, in JAX: attribute paths and initial values are those of torch.nn.

Images are [..., H, W, C] here. `from_weights` fills any module from arrays named as in a torch state_dict.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array
from numpy.typing import ArrayLike

Module = TypeVar("Module", bound=eqx.Module)

DECAY = 0.9
"""Of the running means of batch normalisation, with every batch. Haiku's are free of where they begin, which these are
after a hundred batches."""


def key_stream(key: Array) -> Iterator[Array]:
    """Endless random keys, for constructors to draw from."""
    while True:
        key, one = jax.random.split(key)
        yield one


def uniform(keys: Iterator[Array], shape: tuple[int, ...], fan_in: int) -> Array:
    """torch.nn's initial values of linear layers and convolutions."""
    bound = fan_in**-0.5
    return jax.random.uniform(next(keys), shape, minval=-bound, maxval=bound)


class Linear(eqx.Module):
    weight: Array
    bias: Array | None

    def __init__(self, inputs: int, outputs: int, keys: Iterator[Array], *, bias: bool = True) -> None:
        self.weight = uniform(keys, (outputs, inputs), inputs)
        self.bias = uniform(keys, (outputs,), inputs) if bias else None

    def __call__(self, x: Array) -> Array:
        x = x @ self.weight.T
        return x if self.bias is None else x + self.bias


class Conv(eqx.Module):
    """[F, H, W, in] -> [F, H', W', out], weight [out, in / groups, kernel, kernel]."""

    weight: Array
    bias: Array | None
    stride: int = eqx.field(static=True)
    padding: int = eqx.field(static=True)
    groups: int = eqx.field(static=True)

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int,
        keys: Iterator[Array],
        *,
        stride: int = 1,
        padding: int = 0,
        groups: int = 1,
        bias: bool = True,
    ) -> None:
        seen = inputs // groups
        fan_in = seen * kernel**2
        self.weight = uniform(keys, (outputs, seen, kernel, kernel), fan_in)
        self.bias = uniform(keys, (outputs,), fan_in) if bias else None
        self.stride, self.padding, self.groups = stride, padding, groups

    def __call__(self, x: Array) -> Array:
        x = jax.lax.conv_general_dilated(
            x,
            self.weight,
            (self.stride, self.stride),
            [(self.padding, self.padding)] * 2,
            dimension_numbers=("NHWC", "OIHW", "NHWC"),
            feature_group_count=self.groups,
        )
        return x if self.bias is None else x + self.bias


def same_pad(x: Array, kernel: int, stride: int, value: float = 0.0) -> Array:
    """Pads [F, H, W, C] the way XLA's SAME does: an odd pixel goes to the bottom and the right."""

    def sides(size: int) -> tuple[int, int]:
        total = max(kernel - (size % stride or stride), 0)
        return total // 2, total - total // 2

    return jnp.pad(x, ((0, 0), sides(x.shape[1]), sides(x.shape[2]), (0, 0)), constant_values=value)


def merge(x: Array) -> Array:
    """[B, T, ...] -> [B T, ...]"""
    return x.reshape(x.shape[0] * x.shape[1], *x.shape[2:])


def split(x: Array, lead: tuple[int, ...]) -> Array:
    """[B T, ...] -> [B, T, ...]"""
    return x.reshape(*lead, *x.shape[1:])


def double(x: Array) -> Array:
    """[F, h, w, C] at twice the size, bilinear; beyond the border is what is on it."""
    frames, height, width, channels = x.shape
    return jax.image.resize(x, (frames, 2 * height, 2 * width, channels), "bilinear")


class CoarseConv(eqx.Module):
    """A convolution in bfloat16 between float32 and float32."""

    conv: Conv

    @property
    def stride(self) -> int:
        return self.conv.stride

    def __call__(self, x: Array) -> Array:
        conv = jax.tree.map(lambda weight: weight.astype(jnp.bfloat16), self.conv)
        return conv(x.astype(jnp.bfloat16)).astype(jnp.float32)


def coarse_convs(tree: Any) -> Any:
    """The tree of modules with every convolution made coarse."""

    def coarse(layer: Any) -> Any:
        return CoarseConv(layer) if isinstance(layer, Conv) else layer

    return jax.tree.map(coarse, tree, is_leaf=lambda layer: isinstance(layer, Conv))


class LayerNorm(eqx.Module):
    """Over the channels."""

    weight: Array
    bias: Array | None
    eps: float = eqx.field(static=True)

    def __init__(self, width: int, *, eps: float = 1e-5, bias: bool = True) -> None:
        self.weight = jnp.ones(width)
        self.bias = jnp.zeros(width) if bias else None
        self.eps = eps

    def __call__(self, x: Array) -> Array:
        x = _standardise(x, -1, self.eps) * self.weight
        return x if self.bias is None else x + self.bias


def huber(squared: Array, delta: float) -> Array:
    """Huber's loss of distances, from their squares: it grows linearly beyond `delta`."""
    distance = jnp.sqrt(squared + 1e-12)
    return jnp.where(distance < delta, squared / 2, delta * (distance - delta / 2))


class CostVolumeLayers(eqx.Module):
    """The layers that TAP-Net and TAPIR look for a point with among scores; each has a call of its own."""

    shared: Conv
    heatmap: Conv
    occlusion_conv: Conv
    occlusion_hidden: Linear
    occlusion_out: Linear

    def __init__(self, widths: tuple[int, int, int], logits: int, keys: Iterator[Array]) -> None:
        shared, occlusion, hidden = widths
        self.shared = Conv(1, shared, 3, keys, padding=1)
        self.heatmap = Conv(shared, 1, 3, keys, padding=1)
        self.occlusion_conv = Conv(shared, occlusion, 3, keys, stride=2)
        self.occlusion_hidden = Linear(occlusion, hidden, keys)
        self.occlusion_out = Linear(hidden, logits, keys)


class InstanceNorm(eqx.Module):
    """Over the pixels of [F, H, W, C], every channel on its own."""

    weight: Array
    bias: Array
    eps: float = eqx.field(static=True, default=1e-5)

    def __init__(self, width: int) -> None:
        self.weight, self.bias = jnp.ones(width), jnp.zeros(width)

    def __call__(self, x: Array) -> Array:
        return _standardise(x, (-3, -2), self.eps) * self.weight + self.bias


Moved = list[tuple[Array, Array]]
"""Running means and variances as a batch has moved them, of every batch normalisation that it went through."""


class BatchNorm(eqx.Module):
    """Over all pixels and frames of [F, H, W, C], every channel on its own, by running means of what was trained on."""

    weight: Array
    bias: Array
    running_mean: Array
    running_var: Array
    eps: float = eqx.field(static=True, default=1e-5)

    def __init__(self, width: int) -> None:
        self.weight, self.bias = jnp.ones(width), jnp.zeros(width)
        self.running_mean, self.running_var = jnp.zeros(width), jnp.ones(width)

    def __call__(self, x: Array, moved: Moved | None = None) -> Array:
        """moved: given where the layer is trained. It then goes by the mean and variance of x itself, and the running
        ones, which these have moved, are appended here."""
        mean, var = self.running_mean, self.running_var
        if moved is not None:
            mean, var = x.mean((0, 1, 2)), x.var((0, 1, 2))
            running = (self.running_mean, mean), (self.running_var, var)
            moved.append(tuple(DECAY * old + (1 - DECAY) * jax.lax.stop_gradient(new) for old, new in running))
        return (x - mean) * (jax.lax.rsqrt(var + self.eps) * self.weight) + self.bias


class RMSNorm(eqx.Module):
    weight: Array
    eps: float = eqx.field(static=True)

    def __init__(self, width: int, *, eps: float) -> None:
        self.weight, self.eps = jnp.ones(width), eps

    def __call__(self, x: Array) -> Array:
        return x * jax.lax.rsqrt(jnp.square(x).mean(-1, keepdims=True) + self.eps) * self.weight


def _standardise(x: Array, axis: int | tuple[int, ...], eps: float) -> Array:
    x = x - x.mean(axis, keepdims=True)
    return x * jax.lax.rsqrt(jnp.square(x).mean(axis, keepdims=True) + eps)


def named_parameters(module: eqx.Module) -> dict[str, Any]:
    """Every array of a module under its name in the torch state_dict."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(module)
    return {jax.tree_util.keystr(path, simple=True, separator="."): leaf for path, leaf in leaves}


def running_means(module: eqx.Module, moved: Moved) -> dict[str, Array]:
    """What the batch normalisations of a module appended, in the order of its fields, by its parameters' names."""
    mean_of, var_of = "running_mean", "running_var"
    layers = [name.removesuffix(mean_of) for name in named_parameters(module) if name.endswith(mean_of)]
    pairs = list(zip(layers, moved, strict=True))
    return {layer + mean_of: mean for layer, (mean, _) in pairs} | {layer + var_of: var for layer, (_, var) in pairs}


def from_weights(skeleton: Module, weights: Mapping[str, ArrayLike]) -> Module:
    """The module with these arrays in place of its own, of which only the shapes are looked at.

    Raises ValueError unless names and shapes are exactly those of the module; it names every one at fault.
    """
    shapes = {name: leaf.shape for name, leaf in named_parameters(skeleton).items()}
    faults = [f"{name} is missing" for name in shapes.keys() - weights.keys()]
    faults += [f"{name} is unknown" for name in weights.keys() - shapes.keys()]
    for name in shapes.keys() & weights.keys():
        if jnp.shape(weights[name]) != shapes[name]:
            faults.append(f"{name} is {list(jnp.shape(weights[name]))} instead of {list(shapes[name])}")
    if faults:
        raise ValueError(f"weights do not fit the model: {'; '.join(sorted(faults))}")
    structure = jax.tree_util.tree_structure(skeleton)
    return jax.tree_util.tree_unflatten(structure, [jnp.asarray(weights[name]) for name in shapes])
