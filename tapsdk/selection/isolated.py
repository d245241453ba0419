"""Functions that run in a Python of their own, so that an engine that crashes takes nobody with it."""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

from tapsdk.errors import BackendError

START = (
    "import json, sys; call = json.load(sys.stdin); sys.path[:] = call['path']; "
    "from tapsdk.selection.isolated import serve; serve(call)"
)
"""What the new Python does. It searches for modules where this one does, and in the same order."""


class IsolationError(BackendError):
    """The function raised, crashed, or took too long; the message says which."""


def run_isolated(function: str, request: Mapping[str, Any], seconds: float) -> Any:
    """Calls "module:function" with `request` in a process of its own; both it and the result are JSON.

    Raises IsolationError if that does not give a result within so many seconds.
    """
    if not sys.executable or getattr(sys, "frozen", False):
        raise IsolationError("this program brings no Python that could try it out in a process of its own")
    call = {"function": function, "request": request, "path": [os.path.abspath(entry) for entry in sys.path]}
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-c", START],
            input=json.dumps(call).encode(),
            capture_output=True,
            timeout=seconds,
            check=False,
            creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
        )
    except subprocess.TimeoutExpired:
        raise IsolationError(f"it did not finish within {seconds:g} s") from None
    except OSError as error:
        raise IsolationError(f"no process could be started to try it out: {error}") from error
    if done.returncode:
        raise IsolationError(f"it crashed: its process {_end(done.returncode)}{_last_words(done.stderr)}")
    try:
        answer = json.loads(done.stdout)
    except ValueError:
        raise IsolationError(f"its process ended without a result{_last_words(done.stderr)}") from None
    if "error" in answer:
        raise IsolationError(answer["error"])
    return answer["result"]


def serve(call: Mapping[str, Any]) -> None:
    """The other side: runs the function and writes its result to stdout, where nothing else may get."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # engines print as they like, also from C
    module, _, name = call["function"].partition(":")
    try:
        answer = {"result": getattr(importlib.import_module(module), name)(call["request"])}
    except BackendError as error:
        answer = {"error": str(error)}
    except Exception as error:  # whatever it is, it is why the engine cannot be used
        answer = {"error": f"{type(error).__name__}: {error}"}
    with answers:
        json.dump(answer, answers)


def _end(status: int) -> str:
    if status < 0:
        names = {int(each): each.name for each in signal.Signals}
        return f"was ended by signal {-status} ({names.get(-status, 'unknown')})"
    return f"ended with status {status}"


def _last_words(stderr: bytes) -> str:
    lines = stderr.decode("utf-8", "replace").strip().splitlines()
    return f"; it last said: {lines[-1].strip()[:300]}" if lines else ""
