"""TRAJAN, which encodes tracks and reconstructs others from them: it scores motion and tracks no video."""

from tapsdk.artifact.manifest import Visibility
from training.models.family import Family
from training.models.trajan.config import VARIANTS

FAMILY = Family(
    VARIANTS,
    Visibility({"visible_logits": 1, "certain_logits": 1}),
    torch="training.models.trajan.torch:Trajan",
    jax="training.models.trajan.jax:Trajan",
    official="training.models.trajan.official",
    losses_torch="training.models.trajan.losses_torch",
    losses_jax="training.models.trajan.losses_jax",
    method="reconstruct",
)
