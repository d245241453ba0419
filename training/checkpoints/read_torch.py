"""PyTorch checkpoints: `.pt` or `.pth` with a state_dict, `.ckpt` of Lightning with one inside."""

from __future__ import annotations

import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tapsdk.system.npz import check_unpacked
from training.checkpoints.arrays import as_float32
from training.checkpoints.errors import CheckpointError

PREFIX = "tapnext."
"""What Lightning puts before the names of the module that it trains."""


def read_torch(path: Path) -> dict[str, NDArray[np.float32]]:
    """Parameters of a state_dict, by its names without Lightning's prefix. Raises CheckpointError."""
    import torch

    content = _load(path)
    state = content.get("state_dict", content) if isinstance(content, Mapping) else None
    if not isinstance(state, Mapping):
        raise CheckpointError(f"{path} holds a {type(content).__name__}, not a state_dict")
    strangers = [str(name) for name, value in state.items() if not isinstance(value, torch.Tensor)]
    if strangers:
        raise CheckpointError(f"{path} is not a state_dict: {', '.join(strangers[:3])} is not a tensor")
    return {str(name).removeprefix(PREFIX): _to_float32(str(name), tensor) for name, tensor in state.items()}


def _load(path: Path) -> Any:
    import torch

    try:
        check_unpacked(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        forbidden = re.search(r"GLOBAL (\S+)", str(error))
        if forbidden is None:
            raise _damaged(path, error) from error
        raise CheckpointError(
            f"{path} is not a checkpoint: its pickle asks for {forbidden[1]}, and a checkpoint needs tensors "
            "in plain dictionaries only. It was not called; do not open the file in other ways"
        ) from error
    except Exception as error:  # a damaged pickle may raise anything at all
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> CheckpointError:
    reason = (str(error) or type(error).__name__).splitlines()[0]
    return CheckpointError(f"{path} is not a PyTorch checkpoint, or is damaged or cut short: {reason}")


def _to_float32(name: str, tensor: Any) -> NDArray[np.float32]:
    import torch

    if tensor.device.type != "cpu" or tensor.layout != torch.strided:
        raise CheckpointError(f"parameter {name} has no numbers in the file ({tensor.device}, {tensor.layout})")
    if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
        raise CheckpointError(f"parameter {name} has {tensor.numel()} numbers and fewer in the file")
    # numpy has no bfloat16.
    tensor = tensor.detach().float() if tensor.dtype == torch.bfloat16 else tensor.detach()
    return as_float32(tensor.numpy(), name)
