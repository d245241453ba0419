"""TAP-Net, where tracking any point began: every frame is searched for the point on its own."""

from tapsdk.artifact.manifest import Visibility
from training.models.family import Family
from training.models.tapnet.config import VARIANTS

FAMILY = Family(
    VARIANTS,
    Visibility({"occlusion": -1}),
    torch="training.models.tapnet.torch:Tapnet",
    jax="training.models.tapnet.jax:Tapnet",
    official="training.models.tapnet.official",
    stages="export.stages.tapnet",
    losses_torch="training.models.tapnet.losses_torch",
    losses_jax="training.models.tapnet.losses_jax",
)
