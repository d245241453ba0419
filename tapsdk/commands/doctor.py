"""What runs on this machine, what does not, and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import tapsdk
from tapsdk.artifact import bundled_models, open_artifact
from tapsdk.backends import BACKENDS, Backend, Options, open_backend
from tapsdk.backends.providers import installed_packages, overlap
from tapsdk.commands.table import aligned, number
from tapsdk.errors import BackendError, TapsdkError
from tapsdk.runtime.options import RunOptions
from tapsdk.selection import probe_cache
from tapsdk.selection.candidates import BASE, why_absent
from tapsdk.selection.decision import SHORT_LIMIT, decide
from tapsdk.selection.isolated import run_isolated
from tapsdk.selection.probe import start_engine
from tapsdk.system.cache import cache_directory
from tapsdk.system.machine import describe_machine

POINTS = 64
"""That what "auto" runs is said for."""

Report = dict[str, Any]
"""As JSON has it."""


def diagnose(anew: bool = False) -> Report:
    """Looks at the machine, every backend and every bundled model. anew: forget what was measured before."""
    forgotten = probe_cache.forget() if anew else 0
    return {
        "tapsdk": tapsdk.__version__,
        "machine": describe_machine(),
        "cache": {"folder": _cache_folder(), "forgotten": forgotten},
        "backends": {name: _backend(name) for name in BACKENDS},
        "onnxruntime": {"packages": installed_packages(), "problem": overlap()},
        "models": {name: _model(name) for name in bundled_models()},
    }


def is_well(report: Report) -> bool:
    """Whether what comes with tapsdk works."""
    base, models = report["backends"][BASE], report["models"].values()
    return base["status"] == "works" and all(model["auto"] for model in models)


def _cache_folder() -> str:
    try:
        return str(cache_directory())
    except RuntimeError as error:
        return f"none ({error})"


def _backend(name: str) -> Report:
    row = BACKENDS[name]
    status, text, devices = "works", "", list[str]()
    try:
        absent = why_absent(row)
        if absent:
            status, text = "absent", absent
        elif name == BASE:
            text, devices = _described(open_backend(name))
        else:
            text, devices = run_isolated("tapsdk.commands.doctor:describe", _request(name), SHORT_LIMIT)
    except BackendError as error:
        status, text = "broken", str(error)
    return {"status": status, "reads": list(row.formats), "text": text, "devices": devices}


def _request(name: str) -> Report:
    return {"backend": name, "info": asdict(BACKENDS[name]), "options": asdict(Options())}


def describe(request: Mapping[str, Any]) -> tuple[str, list[str]]:
    """In a process of its own, since an engine may crash as it starts: engine, version and device; all its devices."""
    return _described(start_engine(request))


def _described(engine: Backend) -> tuple[str, list[str]]:
    return engine.describe(), list(engine.devices())


def _model(name: str) -> Report:
    found: Report = {"problem": "", "auto": None, "points": POINTS, "candidates": [], "absent": {}}
    try:
        artifact = open_artifact(name)
        artifact.verify()
        decision = decide(artifact, RunOptions(points=POINTS))
    except TapsdkError as error:
        return {**found, "problem": str(error)}
    return {
        **found,
        "auto": decision.winner.name if decision.winner else None,
        "probe_milliseconds": decision.probe_milliseconds,
        "candidates": [asdict(each) for each in decision.measurements],
        "absent": dict(decision.absent),
    }


def render(report: Report) -> str:
    """The report for people."""
    machine = report["machine"]
    lines = [
        f"tapsdk {report['tapsdk']}, Python {machine['python']}, {machine['system']}",
        f"processor: {machine['processor']}, {machine['cores']} cores to use; kernels for {machine['isa']} "
        f"(available: {', '.join(machine['available_isas'])})",
        f"cache: {report['cache']['folder']}",
        "backends:",
        *(_backend_line(name, found) for name, found in report["backends"].items()),
        *_packages_lines(report["onnxruntime"]),
        "bundled models:",
        *(_model_lines(name, found) for name, found in report["models"].items()),
    ]
    return "\n".join(lines)


def _backend_line(name: str, found: Report) -> str:
    text = {"works": found["text"], "absent": found["text"], "broken": f"does not work: {found['text']}"}
    devices = f"; device= may be {', '.join(found['devices'])}" if found["devices"] else ""
    return f"  {name:12s} {text[found['status']]}{devices}"


def _packages_lines(found: Report) -> list[str]:
    told = ", ".join(f"{name} {version}" for name, version in found["packages"].items())
    lines = [f"  ONNX Runtime comes from the package {told}"] if told else []
    return [f"  ONNX Runtime is damaged: {found['problem']}"] if found["problem"] else lines


def _model_lines(name: str, found: Report) -> str:
    if found["problem"]:
        return f"  {name:12s} {found['problem']}"
    took = found["probe_milliseconds"]
    when = f"measured in {took:.0f} ms" if took else "measured before"
    runs = f"auto runs {found['auto']}" if found["auto"] else "nothing can run it"
    rows = [("", "backend", "ms per frame", "px off", "")]
    for each in found["candidates"]:
        label = f"{each['backend']}:{each['plan']}"
        time, pixels = number(each["milliseconds"], ".1f"), number(each["pixel_error"], ".2g")
        rows.append(("*" if label == found["auto"] else "", label, time, pixels, each["refused"]))
    absent = "".join(f"\n    not {backend}: {reason}" for backend, reason in found["absent"].items())
    head = f"  {name:12s} files intact; {runs} ({found['points']} points, {when})"
    return f"{head}\n{aligned(rows, '    ')}{absent}"
