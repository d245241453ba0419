"""TAPIR and BootsTAPIR, offline and online, and the small model of ours."""

from tapsdk.artifact.manifest import Visibility
from tapsdk.artifact.registry import CALIBRATIONS
from training.models.family import Family
from training.models.tapir.config import VARIANTS

FAMILY = Family(
    VARIANTS,
    Visibility({"occlusion": -1, "expected_dist": -1}),
    torch="training.models.tapir.torch:Tapir",
    jax="training.models.tapir.jax:Tapir",
    official="training.models.tapir.official",
    stages="export.stages.tapir",
    losses_torch="training.models.tapir.losses_torch",
    losses_jax="training.models.tapir.losses_jax",
    backbone="lite.backbone.",
    pretrained="training.checkpoints.efficientnet",
    calibrations=CALIBRATIONS,
    in_training={"correlate": "dense"},
)
