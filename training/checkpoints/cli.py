"""python -m training convert | release."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


def add_parser(commands: Any) -> None:
    """Adds `convert` and `release` to the subcommands of a parser."""
    parser = commands.add_parser(
        "convert",
        help="turn an official checkpoint into canonical weights",
        description="Turns an official checkpoint (.npy, .npz, .pt, .ckpt) into canonical .safetensors.",
    )
    parser.add_argument("file", type=Path, metavar="OFFICIAL_FILE", help="as published, PyTorch's or JAX's")
    parser.add_argument("--model", required=True, metavar="M", help="what it is, such as tapir/boots-causal")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="W.safetensors")
    parser.set_defaults(run=_convert)
    parser = commands.add_parser(
        "release",
        help="turn a training run into canonical weights",
        description="Writes the running mean of a run's weights as canonical .safetensors, rounded to float16.",
    )
    parser.add_argument("directory", type=Path, metavar="RUN", help="where `train` put its checkpoint")
    parser.add_argument("--model", required=True, metavar="M", help="what was trained, such as tapir/tiny")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="W.safetensors")
    parser.set_defaults(run=_release)


def _convert(args: argparse.Namespace) -> None:
    from training.checkpoints.canonical import save_canonical
    from training.checkpoints.convert import convert

    canonical = convert(args.file, args.model)
    save_canonical(canonical, args.output)
    numbers = sum(array.size for array in canonical.weights.values())
    print(f"{args.output}: {canonical.model}, {numbers / 1e6:.1f} M numbers in {len(canonical.weights)} arrays")


def _release(args: argparse.Namespace) -> None:
    from tapsdk.artifact import sha256
    from training.checkpoints.canonical import Canonical, save_canonical
    from training.loop import CHECKPOINT, read_checkpoint
    from training.models.families import config_of, resolve

    model, path = resolve(args.model), args.directory / CHECKPOINT
    state = read_checkpoint(path)
    weights = {name: tensor.numpy() for name, tensor in state["average"].items()}
    source = f"training run, step {state['step']}"
    save_canonical(Canonical(model, config_of(model), weights, source, sha256(path)), args.output, half=True)
    print(f"{args.output}: {model} after {state['step']} steps")
