"""python -m export MODEL --target onnx [-o DIR]"""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

from export.targets import TARGETS


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m export", description="Compile a model into a verified artifact that tapsdk runs."
    )
    parser.add_argument("model", help="family/variant: tapir, tapir/boots-causal, ...")
    parser.add_argument("--target", required=True, help=f"format: {', '.join(TARGETS)}")
    parser.add_argument("--weights", type=Path, metavar="FILE", help="canonical weights, or an official checkpoint")
    parser.add_argument("--precision", default="fp32", help="fp32")
    parser.add_argument("-o", "--output", type=Path, metavar="DIR", help="default: artifacts/MODEL-TARGET")
    parser.add_argument("--force", action="store_true", help="replace an artifact that is already there")
    return parser


def main(argv: list[str] | None = None) -> int:
    args = _parser().parse_args(argv)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(message)s")
    output = args.output or Path("artifacts") / f"{args.model.replace('/', '-')}-{args.target}"
    # After the arguments were found to be right: torch takes seconds to import.
    try:
        from export.pipeline import ExportError, export
        from export.verify import VerificationError
        from tapsdk.errors import TapsdkError
    except ImportError as error:
        print(f"error: export needs torch ({error}); run: pip install 'tapsdk[export-onnx]'", file=sys.stderr)
        return 2
    try:
        manifest = export(
            args.model, args.target, output, weights=args.weights, precision=args.precision, force=args.force
        )
    except (ExportError, VerificationError, TapsdkError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"error: {output} could not be written: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped; nothing was written", file=sys.stderr)
        return 130
    size = sum(file.bytes for file in manifest.files())
    worst = max(manifest.verification["pixel_error"].values())
    print(f"{output}: {manifest.model}, {size / 1e6:.1f} MB, differs from torch by at most {worst:.2g} px")
    return 0


if __name__ == "__main__":
    sys.exit(main())
