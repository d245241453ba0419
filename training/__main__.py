"""The commands of `python -m training`: from data to weights to scores."""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path
from typing import Any

from tapsdk.errors import TapsdkError
from tapsdk.system.console import console, log_to_stderr, tell
from tapsdk.system.imports import ignore_working_folder
from tapsdk.system.places import place
from tapsdk.system.signals import exit_status, signals_as_interrupts

OVERRIDES = ("framework", "init", "encoder_weights", "textures", "data", "validation")
"""Fields of a configuration that options take the place of."""


def _train(args: argparse.Namespace) -> None:
    from contextlib import closing

    from training.run.config import ConfigError, load_config
    from training.run.loop import train
    from training.run.run_state import find_checkpoint
    from training.run.updaters import make_updater

    overrides = {name: getattr(args, name) for name in OVERRIDES}
    config = load_config(args.config, steps=args.steps, **overrides)
    if args.resume is None and find_checkpoint(args.output):
        raise ConfigError(
            f"{args.output} holds a run already; go on with it: --resume {args.output}; or choose another -o"
        )
    with closing(make_updater(config)) as updater:
        train(config, updater, args.resume or args.output, progress=not args.quiet, source=_source(args.on))


def _source(on: str | None) -> Any:
    """Who makes the batches."""
    if on is None:
        from training.run.batches import iterate

        return iterate
    from functools import partial

    from training.run.on_ray import iterate_on_ray

    return partial(iterate_on_ray, on=on)


def _add_train(commands: Any) -> None:
    parser = commands.add_parser("train", help="train a model as a configuration says")
    parser.add_argument("config", type=Path, metavar="CONFIG", help="a TOML file, see training/configs")
    parser.add_argument("--framework", help="torch or jax, in place of the configuration's")
    parser.add_argument(
        "--steps",
        type=int,
        metavar="N",
        help="end after N steps in total, in place of the configuration's; every phase keeps its share of them",
    )
    parser.add_argument("--init", metavar="WEIGHTS", help="start from these weights (.safetensors or an official file)")
    parser.add_argument(
        "--encoder-weights",
        metavar="WEIGHTS",
        help="start the encoder from these published weights: a .pth file, or the name of the package that holds one",
    )
    parser.add_argument("--textures", metavar="DIR", help="folder of photographs to use as textures")
    parser.add_argument("--data", metavar="PATH", help="labelled videos to train on, a file or folder of any dataset")
    parser.add_argument("--validation", metavar="PATH", help="others of them, to watch the run on")
    parser.add_argument(
        "-o",
        "--output",
        type=place,
        default=Path("runs/latest"),
        help="folder for a new run, or its URL in a store (default: %(default)s)",
    )
    parser.add_argument("--resume", type=place, metavar="DIR", help="go on with the run in DIR, or start it there")
    parser.add_argument(
        "--on", metavar="WHERE", help="make clips on ray, or on a cluster, ray://HOST:PORT (default: this machine)"
    )
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    parser.set_defaults(run=_train)


def _parser() -> argparse.ArgumentParser:
    """Raises ImportError where the extra is missing."""
    from training.checkpoints import cli as checkpoints_cli
    from training.clustering import cli as clustering_cli
    from training.data import pack, paint
    from training.data.annotate import cli as annotate_cli
    from training.evaluation import calibration, compare, evaluate, evaluate3d, masks
    from training.run import release

    parser = argparse.ArgumentParser(prog="python -m training", description="Train and evaluate trackers.")
    commands = parser.add_subparsers(dest="command", required=True)
    _add_train(commands)
    checkpoints_cli.add_parser(commands)
    release.add_parser(commands)
    evaluate.add_parser(commands)
    evaluate3d.add_parser(commands)
    compare.add_parser(commands)
    masks.add_parser(commands)
    calibration.add_parser(commands)
    clustering_cli.add_parser(commands)
    pack.add_parser(commands)
    paint.add_parser(commands)
    annotate_cli.add_parser(commands)
    return parser


@console()
def main(argv: list[str] | None = None) -> int:
    """Runs the command and returns its exit status: 0, 1 for an error, 2 without the packages; 130 after Ctrl-C, and
    after another signal 128 and its number."""
    log_to_stderr(logging.INFO)
    try:
        with signals_as_interrupts():
            args = _parser().parse_args(argv)
            args.run(args)
    except TapsdkError as error:
        tell(f"error: {error}")
        return 1
    except MemoryError:
        tell("error: not enough memory; train with smaller batches, or evaluate at a smaller --resolution")
        return 1
    except ImportError as error:
        tell(f"error: training needs packages that are missing here ({error}); run: pip install 'tapsdk[train]'")
        return 2
    except KeyboardInterrupt as error:
        return exit_status(error)
    return 0


if __name__ == "__main__":
    ignore_working_folder(Path(__file__).parents[1])
    sys.exit(main())
