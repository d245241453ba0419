"""Where each TAPNext parameter lies in the published files: one table for the PyTorch and the JAX layout."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Literal

import numpy as np

from training.models.tapnext.config import TAPNEXT_TORCH, TapnextConfig

Layout = Callable[[np.ndarray], np.ndarray]
Row = tuple[str, str, Layout, str, Layout]

IGNORED = frozenset({"query_pos_embed"})
"""Tensors of the official files that hold no parameter: a table of sines and cosines."""


def _same(w: np.ndarray) -> np.ndarray:
    return w


def _linear(w: np.ndarray) -> np.ndarray:
    return w.T


def _token(w: np.ndarray) -> np.ndarray:
    return w.reshape(-1)


def _rows(w: np.ndarray) -> np.ndarray:
    """[1, rows, width] -> [rows, width]"""
    return w[0]


def _patches(w: np.ndarray) -> np.ndarray:
    """Flax [1, h, w, in, out] -> [out, in, h, w]"""
    return w[0].transpose(3, 2, 0, 1)


def _one_plus(w: np.ndarray) -> np.ndarray:
    """RMS normalisation is stored as its distance from one."""
    return w + 1


def _gate_and_up(w: np.ndarray) -> np.ndarray:
    """[2, in, out] -> [2 out, in]"""
    return w.transpose(0, 2, 1).reshape(-1, w.shape[1])


def _heads_in(w: np.ndarray) -> np.ndarray:
    """Flax [in, heads, out of a head] -> [out, in]"""
    return w.reshape(w.shape[0], -1).T


def _heads_out(w: np.ndarray) -> np.ndarray:
    """Flax [heads, in of a head, out] -> [out, in]"""
    return w.reshape(-1, w.shape[-1]).T


def _third(i: int) -> Layout:
    """PyTorch keeps query, key and value in one tensor."""
    return lambda w: np.split(w, 3)[i]


def _x_first(layout: Layout) -> Layout:
    """The official coordinate head gives the bins of y, then those of x."""
    return lambda w: np.concatenate(np.split(layout(w), 2)[::-1])


def as_published(config: TapnextConfig, layout: Literal["torch", "jax"]) -> TapnextConfig:
    """The config for weights of a published file: they belong to the code that wrote it."""
    default = TapnextConfig()
    jax = {name: getattr(default, name) for name in TAPNEXT_TORCH}
    return dataclasses.replace(config, **(TAPNEXT_TORCH if layout == "torch" else jax))


def official_names(config: TapnextConfig) -> Iterator[Row]:
    """Rows (our name, name in the .pt, its layout, "a/b/c" in the .npz, its layout) of every parameter."""
    backbone = "backbone"
    yield "patches.weight", "lin_proj.weight", _same, f"{backbone}/embedding/kernel", _patches
    yield "patches.bias", "lin_proj.bias", _same, f"{backbone}/embedding/bias", _same
    yield "patch_positions", "image_pos_emb", _rows, f"{backbone}/pos_embedding", _rows
    for ours, theirs in (("query", "point_query"), ("unknown", "unknown"), ("mask", "mask")):
        yield f"{ours}_token", f"{theirs}_token", _token, f"{backbone}/{theirs}_token", _token
    for i in range(config.depth):
        block = f"{backbone}/Transformer/encoderblock_{i}"
        yield from _recurrent_names(f"blocks.{i}", f"blocks.{i}.ssm_block", f"{block}/ssm_block")
        yield from _transformer_names(f"blocks.{i}", f"blocks.{i}.vit_block", f"{block}/vit_block")
    yield from _norm("norm", "encoder_norm", f"{backbone}/Transformer/encoder_norm")
    yield from _head_names("coordinate_head", _x_first)
    yield from _head_names("visible_head", lambda layout: layout)


def _linear_names(ours: str, torch: str, flax: str) -> Iterator[Row]:
    yield f"{ours}.weight", f"{torch}.weight", _same, f"{flax}/kernel", _linear
    yield f"{ours}.bias", f"{torch}.bias", _same, f"{flax}/bias", _same


def _norm(ours: str, torch: str, flax: str) -> Iterator[Row]:
    yield f"{ours}.weight", f"{torch}.weight", _same, f"{flax}/scale", _same
    yield f"{ours}.bias", f"{torch}.bias", _same, f"{flax}/bias", _same


def _recurrent_names(ours: str, torch: str, flax: str) -> Iterator[Row]:
    def same(our_name: str, name: str, layout: Layout = _same) -> Row:
        """A parameter that both files keep alike."""
        return f"{ours}.{our_name}", f"{torch}.{name}", layout, f"{flax}/{name.replace('.', '/')}", layout

    yield same("recurrence.norm.weight", "temporal_pre_norm.scale", _one_plus)
    for our_name, name in (("gate", "linear_y"), ("inputs", "linear_x"), ("out", "linear_out")):
        yield from _linear_names(
            f"{ours}.recurrence.{our_name}",
            f"{torch}.recurrent_block.{name}",
            f"{flax}/recurrent_block/{name}",
        )
    yield same("recurrence.conv_weight", "recurrent_block.conv_1d.w")
    yield same("recurrence.conv_bias", "recurrent_block.conv_1d.b")
    yield same("recurrence.lru.decay", "recurrent_block.rg_lru.a_param")
    for our_name, name in (("decay_gate", "a_gate"), ("input_gate", "input_gate")):
        yield same(f"recurrence.lru.{our_name}.weight", f"recurrent_block.rg_lru.{name}.w")
        yield same(f"recurrence.lru.{our_name}.bias", f"recurrent_block.rg_lru.{name}.b")
    yield same("gated_mlp.norm.weight", "channel_pre_norm.scale", _one_plus)
    yield same("gated_mlp.up.weight", "mlp_block.ffw_up.w", _gate_and_up)
    yield same("gated_mlp.up.bias", "mlp_block.ffw_up.b", _token)
    yield from _linear_names(f"{ours}.gated_mlp.down", f"{torch}.mlp_block.ffw_down", f"{flax}/mlp_block/ffw_down")


def _transformer_names(ours: str, torch: str, flax: str) -> Iterator[Row]:
    attention, torch_attention = f"{ours}.attention", f"{torch}.self_attention"
    flax_attention = f"{flax}/MultiHeadDotProductAttention_0"
    yield from _norm(f"{attention}.norm", f"{torch}.ln_1", f"{flax}/LayerNorm_0")
    for i, name in enumerate(("query", "key", "value")):
        layout, flax_name = _third(i), f"{flax_attention}/{name}"
        ours_name, torch_name = f"{attention}.{name}", f"{torch_attention}.in_proj"
        yield f"{ours_name}.weight", f"{torch_name}_weight", layout, f"{flax_name}/kernel", _heads_in
        yield f"{ours_name}.bias", f"{torch_name}_bias", layout, f"{flax_name}/bias", _token
    out, torch_out = f"{attention}.out", f"{torch_attention}.out_proj"
    yield f"{out}.weight", f"{torch_out}.weight", _same, f"{flax_attention}/out/kernel", _heads_out
    yield f"{out}.bias", f"{torch_out}.bias", _same, f"{flax_attention}/out/bias", _same
    yield from _norm(f"{ours}.mlp.norm", f"{torch}.ln_2", f"{flax}/LayerNorm_1")
    for i, (name, torch_name) in enumerate((("up", "mlp.0"), ("down", "mlp.3"))):
        flax_name = f"{flax}/MlpBlock_0/Dense_{i}"
        yield from _linear_names(f"{ours}.mlp.{name}", f"{torch}.{torch_name}", flax_name)


def _head_names(head: str, last: Callable[[Layout], Layout]) -> Iterator[Row]:
    """last: what is done to the layouts of the last layer."""
    layers = f"{head}/layers"
    for i, place in enumerate((0, 3)):
        yield from _linear_names(f"{head}.hidden_{i}", f"{head}.{place}", f"{layers}_{place}")
        yield from _norm(f"{head}.norm_{i}", f"{head}.{place + 1}", f"{layers}_{place + 1}")
    yield f"{head}.out.weight", f"{head}.6.weight", last(_same), f"{layers}_6/kernel", last(_linear)
    yield f"{head}.out.bias", f"{head}.6.bias", last(_same), f"{layers}_6/bias", last(_same)
