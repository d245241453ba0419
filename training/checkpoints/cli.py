"""python -m training convert."""

from __future__ import annotations

import argparse
from typing import Any

from tapsdk.system.places import place


def add_parser(commands: Any) -> None:
    """Adds `convert` to the subcommands of a parser."""
    parser = commands.add_parser(
        "convert",
        help="turn an official checkpoint into canonical weights",
        description="Turns an official checkpoint (.npy, .npz, .pt, .pth, .ckpt) into canonical .safetensors.",
    )
    parser.add_argument("file", type=place, metavar="OFFICIAL_FILE", help="as published, PyTorch's or JAX's")
    parser.add_argument("--model", required=True, metavar="M", help="what it is, such as tapir/boots-causal")
    parser.add_argument("-o", "--output", type=place, required=True, metavar="W.safetensors")
    parser.set_defaults(run=_convert)


def _convert(args: argparse.Namespace) -> None:
    from tapsdk.system.files import check_not_input
    from training.checkpoints.canonical import save_canonical
    from training.checkpoints.convert import convert

    check_not_input(args.output, [args.file])
    canonical = convert(args.file, args.model)
    save_canonical(canonical, args.output)
    numbers = sum(array.size for array in canonical.weights.values())
    print(f"{args.output}: {canonical.model}, {numbers / 1e6:.1f} M numbers in {len(canonical.weights)} arrays")
