"""python -m training train | convert | release | evaluate."""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

from tapsdk.errors import TapsdkError
from training.checkpoints import cli as checkpoints_cli
from training.evaluation import evaluate


def _train(args: argparse.Namespace) -> None:
    from training.config import load_config
    from training.loop import train
    from training.update_torch import TorchUpdater

    config = load_config(args.config, textures=args.textures)
    train(config, TorchUpdater(config), args.resume or args.output, progress=not args.quiet)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m training", description="Train and evaluate trackers.")
    commands = parser.add_subparsers(dest="command", required=True)
    train = commands.add_parser("train", help="train a model as a configuration says")
    train.add_argument("config", type=Path, help="a TOML file, see training/configs")
    train.add_argument("--textures", help="folder of photographs to use as textures")
    train.add_argument(
        "-o", "--output", type=Path, default=Path("runs/latest"), help="where checkpoints and the log go"
    )
    train.add_argument("--resume", type=Path, metavar="DIR", help="go on with the run in DIR")
    train.add_argument("--quiet", action="store_true", help="no progress bar")
    train.set_defaults(run=_train)
    checkpoints_cli.add_parser(commands)
    evaluate.add_parser(commands)
    return parser


def main(argv: list[str] | None = None) -> int:
    args = _parser().parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    try:
        args.run(args)
    except TapsdkError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
