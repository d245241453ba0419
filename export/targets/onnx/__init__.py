"""ONNX: the target, and weights in other precisions."""
