"""Official checkpoint files in, canonical weights out."""

from training.checkpoints.canonical import Canonical, load_canonical, save_canonical
from training.checkpoints.convert import convert
from training.checkpoints.errors import CheckpointError

__all__ = ["Canonical", "CheckpointError", "convert", "load_canonical", "save_canonical"]
