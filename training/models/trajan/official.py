"""Where each TRAJAN parameter lies in the published file, which is Flax's; PyTorch code was not published."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from training.models.trajan.config import TrajanConfig

Layout = Callable[[np.ndarray], np.ndarray]
Place = tuple[str, str, Layout]
"""Our name, "a/b/c" in the .npz, and what turns its layout into ours."""

IGNORED = frozenset({"input_readout_token"})
"""The published model declares it and uses it nowhere."""

TRANSFORMERS = {
    "track_transformer": "input_track_transformer",
    "latent_transformer": "tracks_to_latents",
    "decompress_transformer": "decompress_attn",
    "readout_transformer": "track_readout_attn",
}


def _same(w: np.ndarray) -> np.ndarray:
    return w


def _linear(w: np.ndarray) -> np.ndarray:
    return w.T


def _heads_in(w: np.ndarray) -> np.ndarray:
    """[in, heads, out of a head] -> [out, in]"""
    return w.reshape(w.shape[0], -1).T


def _heads_out(w: np.ndarray) -> np.ndarray:
    """[heads, in of a head, out] -> [out, in]"""
    return w.reshape(-1, w.shape[-1]).T


def official_names(config: TrajanConfig) -> Iterator[tuple[str, str, Layout, str, Layout]]:
    """Rows (our name, name in a .pt, its layout, "a/b/c" in the .npz, its layout) of every parameter.

    A .pt is a state_dict of our own module.
    """
    for ours, theirs, layout in _places(config):
        yield ours, ours, _same, theirs, layout


def _places(config: TrajanConfig) -> Iterator[Place]:
    yield "first_latents", "initializer/state_init", _same
    yield from _linear_places("track_projection", "track_token_projection")
    yield from _linear_places("compressor", "compressor")
    yield from _linear_places("decompressor", "decompressor")
    yield from _linear_places("query_projection", "query_encoder")
    yield from _linear_places("head", "track_predictor")
    for ours, theirs in TRANSFORMERS.items():
        yield f"{ours}.norm.weight", f"{theirs}/norm_encoder/scale", _same
        for i in range(getattr(config, ours)[1]):
            yield from _layer_places(f"{ours}.layers.{i}", f"{theirs}/layer_{i}", ours == "latent_transformer")


def _linear_places(ours: str, theirs: str) -> Iterator[Place]:
    yield f"{ours}.weight", f"{theirs}/kernel", _linear
    yield f"{ours}.bias", f"{theirs}/bias", _same


def _layer_places(ours: str, theirs: str, has_context: bool) -> Iterator[Place]:
    yield f"{ours}.norm.weight", f"{theirs}/norm_q/scale", _same
    yield f"{ours}.mlp_norm.weight", f"{theirs}/norm_attn/scale", _same
    yield from _linear_places(f"{ours}.up", f"{theirs}/MLP_in")
    yield from _linear_places(f"{ours}.down", f"{theirs}/MLP_out")
    yield from _attention_places(f"{ours}.attention", f"{theirs}/self_att")
    if has_context:
        yield from _attention_places(f"{ours}.cross", f"{theirs}/cross_att")


def _attention_places(ours: str, theirs: str) -> Iterator[Place]:
    for name in ("query", "key", "value"):
        yield f"{ours}.{name}.weight", f"{theirs}/dense_{name}/kernel", _heads_in
    for name in ("query", "key"):
        yield f"{ours}.{name}_norm.weight", f"{theirs}/norm_{name}/scale", _same
    yield f"{ours}.out.weight", f"{theirs}/dense_out/kernel", _heads_out
    yield f"{ours}.out.bias", f"{theirs}/dense_out/bias", _same
