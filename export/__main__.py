"""python -m export MODEL --target onnx [-o DIR]"""

from __future__ import annotations

import argparse
import importlib
import logging
import sys
from collections.abc import Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

from export.targets import TARGETS, how_to_install
from tapsdk.errors import TapsdkError
from tapsdk.system.console import console, log_to_stderr, tell
from tapsdk.system.imports import ignore_working_folder
from tapsdk.system.places import place
from tapsdk.system.signals import exit_status, signals_as_interrupts

TRIES = 3
"""Times that an export is tried again whose machine dies."""


def _parser(prog: str = "python -m export") -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=prog, description="Compile a model into a verified artifact that tapsdk runs."
    )
    parser.add_argument("model", nargs="+", help="family/variant: tapir, tapir/boots-causal, ...")
    parser.add_argument(
        "--target", required=True, type=_targets, metavar="T[,T]", help=f"format: {', '.join(TARGETS)}, or several"
    )
    parser.add_argument(
        "--weights", type=place, metavar="FILE", help="canonical weights, or an official checkpoint; a path or a URL"
    )
    parser.add_argument("--precision", default="fp32", help="fp32, fp16, bf16, int8, as far as the target has them")
    parser.add_argument("--points", type=int, metavar="N", help="exactly N points; default: any number, or buckets")
    parser.add_argument(
        "--size", type=_size, metavar="HxW", help="frames of this size, for targets that need one; default: the model's"
    )
    parser.add_argument(
        "-o",
        "--output",
        type=place,
        metavar="DIR",
        help="a path or a URL; default: artifacts/MODEL-TARGET; of several models or formats, the folder of these",
    )
    parser.add_argument(
        "--on", metavar="WHERE", help="ray, or a cluster's ray://HOST:PORT, where each is exported (default: here)"
    )
    parser.add_argument("--force", action="store_true", help="replace an artifact that is already there")
    return parser


def _targets(text: str) -> list[str]:
    names = text.split(",")
    unknown = [name for name in names if name not in TARGETS]
    if unknown:
        allowed = ", ".join(TARGETS)
        raise argparse.ArgumentTypeError(f"invalid choice: {unknown[0]!r} (choose from {allowed}, or several of them)")
    return names


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
            variants = _variants(args)
            return _run_on_ray(variants, args.on) if args.on else max(map(_run, variants))
    except TapsdkError as error:
        tell(f"error: {error}")
        return 1
    except KeyboardInterrupt as error:
        tell("stopped; nothing was written")
        return exit_status(error)


def _variants(args: argparse.Namespace) -> list[argparse.Namespace]:
    """The arguments of each model and target alone, with its output."""
    several = len(args.model) * len(args.target) > 1
    home = args.output if several and args.output else Path("artifacts")

    def of(model: str, target: str) -> argparse.Namespace:
        output = home / f"{model.replace('/', '-')}-{target}" if several or not args.output else args.output
        return argparse.Namespace(**{**vars(args), "model": model, "target": target, "output": output})

    return [of(model, target) for model in args.model for target in args.target]


def _run_on_ray(variants: Sequence[argparse.Namespace], on: str) -> int:
    """Raises TapsdkError."""
    from tapsdk.system.cluster import cluster, own_errors

    with cluster(on) as ray, own_errors(ray):
        run = ray.remote(num_cpus=1, max_retries=TRIES)(_run_there)
        found = ray.get([run.remote(_absolute(args)) for args in variants])
    for _, out, err in found:
        print(out, end="")
        print(err, end="", file=sys.stderr)
    return max(status for status, _, _ in found)


def _absolute(args: argparse.Namespace) -> argparse.Namespace:
    """With paths that do not begin in the working folder."""
    paths = {name: value.absolute() for name, value in vars(args).items() if isinstance(value, Path)}
    return argparse.Namespace(**{**vars(args), **paths})


def _run_there(args: argparse.Namespace) -> tuple[int, str, str]:
    """The exit status, and what was written to stdout and to stderr."""
    with redirect_stdout(StringIO()) as out, redirect_stderr(StringIO()) as err:
        return _run(args), out.getvalue(), err.getvalue()


def _run(args: argparse.Namespace) -> int:
    output = args.output
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
