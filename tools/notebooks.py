"""Runs the notebooks in examples/notebooks and writes them with their new outputs.

    python -m tools.notebooks                        # all of them, into out/notebooks
    python -m tools.notebooks rainbow online         # some
    python -m tools.notebooks -o examples/notebooks  # the outputs that are kept

A cell that fails ends it, and nothing is written of that notebook.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

NOTEBOOKS = Path(__file__).parents[1] / "examples" / "notebooks"
SECONDS_PER_CELL = 600
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}


def run(path: Path) -> nbformat.NotebookNode:
    """A notebook with what its cells say now, and nothing of the machine that ran them. Raises CellExecutionError."""
    notebook = nbformat.read(path, as_version=4)
    resources = {"metadata": {"path": str(path.parent)}}
    client = NotebookClient(
        notebook, timeout=SECONDS_PER_CELL, kernel_name=KERNEL["name"], resources=resources, record_timing=False
    )
    client.execute()
    notebook.metadata = nbformat.from_dict({"kernelspec": KERNEL, "language_info": {"name": "python"}})
    return notebook


def main() -> int:
    names = sorted(path.stem for path in NOTEBOOKS.glob("*.ipynb"))
    parser = argparse.ArgumentParser(prog="python -m tools.notebooks", description="Run the example notebooks.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(names)} (default: all)")
    parser.add_argument("-o", "--output", type=Path, default=Path("out/notebooks"), metavar="FOLDER")
    args = parser.parse_args()
    unknown = sorted(set(args.names) - set(names))
    if unknown:
        parser.error(f"there is no notebook {', '.join(unknown)}")
    args.output.mkdir(parents=True, exist_ok=True)
    for name in args.names or names:
        began = time.monotonic()
        try:
            notebook = run(NOTEBOOKS / f"{name}.ipynb")
        except CellExecutionError as error:
            print(f"{name}: {error}", file=sys.stderr)
            return 1
        nbformat.write(notebook, args.output / f"{name}.ipynb")
        print(f"{args.output / name}.ipynb: {time.monotonic() - began:.0f} s", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
