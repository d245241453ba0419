"""Core ML packages that are plain ML programs and say all there is to them.

A package's listing may name any path, its model may be of a kind that calls classes or opens files of its own choice,
and a program's constants name the files that they lie in. All of it has to stay among the files that were checked.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Any

from tapsdk.artifact.content import Content
from tapsdk.artifact.protobuf import Schema, fields_of
from tapsdk.system.json_text import parse_strict_json

LISTING = "Manifest.json"
FOLDER = "Data"
"""Where the listing's paths begin."""
HERE = "@model_path/"
"""The model's own folder, in the names of files with constants."""
PROGRAM = 502
KNOWN = {1: "version", 2: "description", 10: "whether it can be trained", PROGRAM: "the ML program"}
"""Fields of a model: all others make it another kind of model, or part of one."""

MESSAGES: Schema = {
    "Model": {PROGRAM: "Program"},
    "Program": {2: "Functions", 4: "Values"},
    "Functions": {2: "Function"},
    "Function": {1: "NamedValueType", 3: "Blocks", 4: "Values"},
    "Blocks": {2: "Block"},
    "Block": {1: "NamedValueType", 3: "Operation", 4: "Values"},
    "Operation": {2: "Arguments", 3: "NamedValueType", 4: "Block", 5: "Values"},
    "Arguments": {2: "Argument"},
    "Argument": {1: "Binding"},
    "Binding": {2: "Value"},
    "Values": {2: "Value"},
    "Value": {2: "ValueType", 3: "ImmediateValue", 5: "BlobFileValue"},
    "ImmediateValue": {2: "ListOfValues", 3: "ListOfValues", 4: "Pairs"},
    "ListOfValues": {1: "Value"},
    "Pairs": {1: "Pair"},
    "Pair": {1: "Value", 2: "Value"},
    "NamedValueType": {2: "ValueType"},
    "ValueType": {1: "TensorType", 2: "ListType", 3: "TupleType", 4: "DictionaryType", 5: "StateType"},
    "TensorType": {4: "Values"},
    "ListType": {1: "ValueType"},
    "TupleType": {1: "ValueType"},
    "DictionaryType": {1: "ValueType", 2: "ValueType"},
    "StateType": {1: "ValueType"},
}
"""All ways from a model to the name of a file, in Model.proto and MIL.proto."""


def check_package(package: Content) -> list[str]:
    """The paths that its listing names.

    Raises ValueError if the package is no ML program, or names a file that is not one of its own.
    """
    try:
        model, paths = _listed(package)
        _check_program(package, model)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"it is not a Core ML package of the plain kind: {error}") from error
    return paths


def unpack(package: Content, folder: Path) -> Path:
    """Writes a package that was checked into a folder, for who takes nothing but paths; returns its path there.

    Raises ValueError as `check_package` does, OSError.
    """
    paths, top = check_package(package), package.unpack(folder)
    for path in paths:
        if path not in package.parts:  # where nothing is in a folder it is not among the files, and is missed
            (top / path).mkdir(parents=True, exist_ok=True)
    return top


def _listed(package: Content) -> tuple[str, list[str]]:
    """The path of its model and all paths of its listing, none of which leads outside."""
    listing: dict[str, Any] = parse_strict_json(package.parts[LISTING])
    paths = {key: item["path"] for key, item in listing["itemInfoEntries"].items()}
    for path in paths.values():
        if path.startswith("/") or ".." in PurePosixPath(path).parts or "\\" in path:
            raise ValueError(f"{LISTING} names {path!r}, which is not in the package")
    model = paths[listing["rootModelIdentifier"]]
    return f"{FOLDER}/{model}", [f"{FOLDER}/{path}" for path in paths.values()]


def _check_program(package: Content, model: str) -> None:
    folder, is_program = model.rpartition("/")[0], False
    for message, number, value in fields_of(memoryview(package.parts[model]), "Model", MESSAGES):
        if message == "Model":
            is_program = is_program or number == PROGRAM
            if number not in KNOWN:
                raise ValueError(f"its model has the field {number}; only ML programs are opened")
        elif message == "BlobFileValue" and number == 1 and isinstance(value, memoryview):
            name = bytes(value).decode("utf-8")
            if not name.startswith(HERE) or f"{folder}/{name.removeprefix(HERE)}" not in package.parts:
                raise ValueError(f"its program reads {name!r}, which is no file in the package")
    if not is_program:
        raise ValueError("it has no ML program")
