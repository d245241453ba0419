"""Core ML packages: what is opened of those that others wrote."""

import json
from pathlib import Path

import pytest

from tapsdk.artifact.content import Content
from tapsdk.backends.coreml_package import MESSAGES, check_package, unpack
from tests.support import import_or_skip

MODEL = "Data/com.apple.CoreML/model.mlmodel"
WEIGHTS = "Data/com.apple.CoreML/weights/weight.bin"


def field(number, content):
    """Of a message: bytes that fit in seven bits of length each."""
    tag, size = number << 3 | 2, len(content)
    return _varint(tag) + _varint(size) + content


def _varint(value):
    out = b""
    while value > 127:
        out += bytes([value & 127 | 128])
        value >>= 7
    return out + bytes([value])


def program_reading(name):
    """An ML program with a constant in a file."""
    blob = field(5, field(1, name.encode()))
    operation = field(5, field(1, b"val") + field(2, blob))
    block = field(3, field(1, b"CoreML7") + field(2, field(3, operation)))
    function = field(2, field(1, b"main") + field(2, block))
    return field(502, function)


def package(model, paths=("com.apple.CoreML/model.mlmodel", "com.apple.CoreML/weights"), root="0"):
    listing = {"itemInfoEntries": {str(i): {"path": path} for i, path in enumerate(paths)}, "rootModelIdentifier": root}
    parts = {"Manifest.json": json.dumps(listing).encode(), MODEL: model, WEIGHTS: b"weights"}
    return Content(Path("a.mlpackage"), dict(sorted(parts.items())))


def test_a_program_that_reads_its_own_weights_is_opened():
    check_package(package(program_reading("@model_path/weights/weight.bin")))


@pytest.mark.parametrize(
    "name",
    ["/etc/passwd", "@model_path/../../../../etc/passwd", "@model_path/weights/other.bin", "weights/weight.bin", ""],
)
def test_a_program_that_reads_another_file_is_not(name):
    with pytest.raises(ValueError, match=r"its program reads .*, which is no file in the package"):
        check_package(package(program_reading(name)))


def test_it_is_unpacked_with_the_empty_folders_that_it_names(tmp_path):
    whole = package(field(502, b""))
    parts = {name: data for name, data in whole.parts.items() if name != WEIGHTS}
    top = unpack(Content(whole.path, parts), tmp_path)
    assert top == tmp_path / "a.mlpackage"
    assert (top / MODEL).read_bytes() == parts[MODEL]
    assert list((top / "Data/com.apple.CoreML/weights").iterdir()) == []


@pytest.mark.parametrize("number, kind", [(555, "custom"), (556, "linked"), (500, "neural network"), (202, "pipeline")])
def test_models_of_kinds_that_call_classes_or_open_files_are_not(number, kind):
    for model in (field(number, b""), program_reading("@model_path/weights/weight.bin") + field(number, b"")):
        with pytest.raises(ValueError, match=f"its model has the field {number}; only ML programs are opened"):
            check_package(package(model))


@pytest.mark.parametrize("path", ["../../secret", "/etc/passwd", "com.apple.CoreML/../../..", "a\\b"])
def test_a_listing_that_leads_outside_is_not(path):
    with pytest.raises(ValueError, match="which is not in the package"):
        check_package(package(program_reading("@model_path/weights/weight.bin"), (MODEL.removeprefix("Data/"), path)))


@pytest.mark.parametrize("listing", [b"", b"[]", b"{}", b"[" * 100_000, b'{"itemInfoEntries": {"1": 5}}'])
def test_a_listing_that_is_none(listing):
    whole = package(b"")
    with pytest.raises(ValueError, match="it is not a Core ML package of the plain kind"):
        check_package(Content(whole.path, {**whole.parts, "Manifest.json": listing}))


@pytest.mark.parametrize("model", [b"", b"\x80\x04N.", program_reading("@model_path/weights/weight.bin")[:-3]])
def test_a_model_that_is_none(model):
    with pytest.raises(ValueError):
        check_package(package(model))


def test_a_file_alone_is_no_package():
    with pytest.raises(ValueError):
        check_package(Content(Path("a.mlpackage"), {"": b"model"}))


def test_the_table_has_all_ways_to_the_name_of_a_file():
    import_or_skip("coremltools", "export-coreml")
    from coremltools.proto import MIL_pb2

    known, todo, seen = {}, [(MIL_pb2.Program.DESCRIPTOR, "Program")], set()
    while todo:
        descriptor, name = todo.pop()
        if (descriptor.full_name, name) in seen:
            continue
        seen.add((descriptor.full_name, name))
        inner = {f.number: f.message_type for f in descriptor.fields if f.message_type}
        for number, message in inner.items():
            if number in MESSAGES.get(name, {}):
                todo.append((message, MESSAGES[name][number]))
            else:
                known.setdefault((name, number), message)
    assert not [place for place, message in known.items() if leads_to_a_file(message)]


def leads_to_a_file(message, seen=()):
    if message.name == "BlobFileValue":
        return True
    inner = [f.message_type for f in message.fields if f.message_type]
    return any(leads_to_a_file(each, (*seen, message)) for each in inner if each not in (*seen, message))
