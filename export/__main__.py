"""python -m export MODEL --target onnx [-o DIR]"""

from __future__ import annotations

import argparse
import importlib
import logging
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from export.targets import TARGETS, how_to_install
from tapsdk.errors import TapsdkError
from tapsdk.system.console import console, log_to_stderr, tell
from tapsdk.system.imports import ignore_working_folder
from tapsdk.system.places import place
from tapsdk.system.signals import exit_status, signals_as_interrupts


def _parser(prog: str = "python -m export") -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=prog, description="Compile a model into a verified artifact that tapsdk runs."
    )
    parser.add_argument("model", help="family/variant: tapir, tapir/boots-causal, ...")
    parser.add_argument("--target", required=True, choices=list(TARGETS), help="format")
    parser.add_argument(
        "--weights", type=place, metavar="FILE", help="canonical weights, or an official checkpoint; a path or a URL"
    )
    parser.add_argument("--precision", default="fp32", help="fp32, fp16, bf16, int8, as far as the target has them")
    parser.add_argument("--points", type=int, metavar="N", help="exactly N points; default: any number, or buckets")
    parser.add_argument(
        "--size", type=_size, metavar="HxW", help="frames of this size, for targets that need one; default: the model's"
    )
    parser.add_argument(
        "-o", "--output", type=place, metavar="DIR", help="a path or a URL; default: artifacts/MODEL-TARGET"
    )
    parser.add_argument("--force", action="store_true", help="replace an artifact that is already there")
    return parser


def _size(text: str) -> tuple[int, int]:
    try:
        height, width = (int(side) for side in text.lower().split("x"))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not HEIGHTxWIDTH in pixels, such as 192x336") from None
    return height, width


@console()
def main(argv: Sequence[str] | None = None, prog: str = "python -m export") -> int:
    """Runs the command and returns its exit status: 0 only if the artifact was verified; 128 and the number of the
    signal that ended it."""
    args = _parser(prog).parse_args(argv)
    log_to_stderr(logging.WARNING)
    try:
        with signals_as_interrupts():
            return _run(args)
    except KeyboardInterrupt as error:
        tell("stopped; nothing was written")
        return exit_status(error)


def _run(args: argparse.Namespace) -> int:
    output = args.output or Path("artifacts") / f"{args.model.replace('/', '-')}-{args.target}"
    try:
        from training.models.registry import resolve

        resolve(args.model)
        # After the arguments were found to be right: torch takes seconds to import.
        from export.pipeline import ExportError, Options, export
        from export.verification.verify import VerificationError

        importlib.import_module(TARGETS[args.target][0])
    except TapsdkError as error:
        tell(f"error: {error}")
        return 1
    except ImportError as error:
        tell(f"error: {how_to_install(args.target, error)}")
        return 2
    try:
        options = Options(args.weights, args.precision, args.points, args.size, args.force)
        manifest = export(args.model, args.target, output, options)
    except (ExportError, VerificationError, TapsdkError) as error:
        tell(f"error: {error}")
        return 1
    except OSError as error:
        tell(f"error: {output} could not be written: {error}")
        return 1
    except MemoryError:
        tell(
            "error: not enough memory; export for fewer points (--points) or, where the target has it, a smaller --size"
        )
        return 1
    size = sum(file.bytes for file in manifest.files())
    print(
        f"{output}: {manifest.model}, {size / 1e6:.1f} MB, differs from torch by {_difference(manifest.verification)}"
    )
    return 0


def _difference(verification: Mapping[str, Any]) -> str:
    if "median_pixel_error" not in verification:
        return f"at most {max(verification['pixel_error'].values()):.2g} px"
    jaccard = dict(verification["average_jaccard"])
    expected, found = jaccard.pop("torch"), min(jaccard.values())
    median = max(verification["median_pixel_error"].values())
    return f"{median:.2g} px in the median; on generated clips AJ is {100 * found:.1f}, torch's {100 * expected:.1f}"


if __name__ == "__main__":
    ignore_working_folder(Path(__file__).parents[1])
    sys.exit(main())
