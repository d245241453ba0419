"""Runs a stage for LiteRt.kt, by ONNX Runtime: python engine.py ARTIFACT/STAGE.onnx, requests on stdin."""

from __future__ import annotations

import struct
import sys
from pathlib import Path

import numpy as np
import onnxruntime as ort

from tapsdk.artifact.manifest import entry_point
from tapsdk.artifact.manifest_file import read_manifest

REQUESTS, ANSWERS = sys.stdin.buffer, sys.stdout.buffer


def read_int() -> int:
    return int(struct.unpack(">i", REQUESTS.read(4))[0])


def read_text() -> str:
    return REQUESTS.read(struct.unpack(">H", REQUESTS.read(2))[0]).decode()


def serve(path: Path) -> None:
    manifest = read_manifest(path.parent)
    stage = manifest.stages[path.stem]
    specs = {t.name: t for t in (*stage.inputs, *stage.outputs)}
    signatures = {entry_point(stage, n): n for n in manifest.points.buckets["tflite"]}
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])

    def shape(name: str, signature: str) -> tuple[int, ...]:
        return specs[name].shape_for(signatures[signature], manifest.frames.size)

    while REQUESTS.peek(1):
        request, signature = read_text(), read_text()
        if request == "size":
            ANSWERS.write(struct.pack(">i", int(np.prod(shape(read_text(), signature)))))
        else:
            feeds = {}
            for _ in range(read_int()):
                name = read_text()
                values = np.frombuffer(REQUESTS.read(4 * read_int()), ">f4").astype(np.float32)
                feeds[name] = values.reshape(shape(name, signature))
            names = [t.name for t in stage.outputs]
            ANSWERS.write(struct.pack(">i", len(names)))
            for name, values in zip(names, session.run(names, feeds), strict=True):
                encoded = name.encode()
                ANSWERS.write(struct.pack(">H", len(encoded)) + encoded + struct.pack(">i", values.size))
                ANSWERS.write(values.astype(">f4").tobytes())
        ANSWERS.flush()


serve(Path(sys.argv[1]))
