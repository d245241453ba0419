"""python -m benchmarks.random_weights MODEL FILE: canonical weights of a TAPIR as its layers begin, nothing trained."""

from __future__ import annotations

import sys

import torch

from training.checkpoints.canonical import Canonical, save_canonical
from training.models.registry import config_of
from training.models.tapir.torch import Tapir


def write_random_weights(model: str, path: str) -> None:
    torch.manual_seed(0)
    config = config_of(model)
    weights = {name: tensor.numpy() for name, tensor in Tapir(config).state_dict().items()}
    save_canonical(Canonical(model, config, weights, "random", "0" * 64), path)


if __name__ == "__main__":
    write_random_weights(*sys.argv[1:])
