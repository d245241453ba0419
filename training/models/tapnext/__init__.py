"""TAPNext and TAPNext++."""

from tapsdk.artifact.manifest import Visibility
from training.models.family import Family
from training.models.tapnext.config import VARIANTS

FAMILY = Family(
    VARIANTS,
    Visibility({"visible_logits": 1}),
    torch="training.models.tapnext.torch:Tapnext",
    jax="training.models.tapnext.jax:Tapnext",
    official="training.models.tapnext.official",
    stages="export.stages.tapnext",
    losses_torch="training.models.tapnext.losses_torch",
    losses_jax="training.models.tapnext.losses_jax",
    sees_tokens=True,
)
