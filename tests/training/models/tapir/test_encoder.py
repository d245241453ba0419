"""TAPIR on the encoder that can be pretrained: the same model in both frameworks, its grids where the config says."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch: pip install '.[train]'")

from tapsdk.artifact.registry import OFFICIAL  # noqa: E402
from tests.training.models.frameworks import random_clip, spread  # noqa: E402
from training.checkpoints.loading import config_for  # noqa: E402
from training.models.layers.efficientnet import backbone_convs  # noqa: E402
from training.models.registry import CONFIGS, family_of  # noqa: E402
from training.models.tapir.config import TapirConfig  # noqa: E402
from training.models.tapir.official import official_names  # noqa: E402
from training.models.tapir.torch import Tapir  # noqa: E402

SMALL = TapirConfig(
    causal=True,
    encoder="efficientnet-lite",
    channels=(0, 8, 0, 12),
    head=(4, 4, 4),
    mixer_width=16,
    mixer_blocks=1,
    iterations=1,
    motion_prior=3.0,
    resolution=(32, 32),
    size_multiple=8,
)


def parameters(config: TapirConfig) -> dict[str, tuple[int, ...]]:
    with torch.device("meta"):
        return {name: tuple(p.shape) for name, p in Tapir(config).state_dict().items()}


def test_clips_are_the_same_in_both_frameworks() -> None:
    pytest.importorskip("jax", reason="needs JAX: pip install '.[jax]'")
    pytest.importorskip("equinox", reason="needs Equinox: pip install '.[jax]'")
    from training.models.tapir.jax import Tapir as JaxTapir

    model = Tapir(SMALL).eval()
    weights = spread(model.state_dict())
    model.load_state_dict({name: torch.from_numpy(array) for name, array in weights.items()})
    video, queries = random_clip(1, 3, 24, 40, points=3)
    with torch.inference_mode():
        expected = model.clip(torch.from_numpy(video), torch.from_numpy(queries))
    found = JaxTapir.from_weights(SMALL, weights).clip(video, queries)
    for name, tensor in expected.items():
        np.testing.assert_allclose(found[name], tensor.numpy(), rtol=0, atol=2e-3, err_msg=name)


@pytest.mark.parametrize("size", [(32, 48), (24, 40)])
def test_grids_are_of_the_strides_and_widths_of_the_config(size: tuple[int, int]) -> None:
    with torch.inference_mode():
        high, low = Tapir(SMALL).encode(torch.zeros(1, *size, 3))
    assert high.shape == (1, *(side // SMALL.high_stride for side in size), SMALL.high_width)
    assert low.shape == (1, *(side // SMALL.low_stride for side in size), SMALL.low_width)


def test_strides_of_the_residual_groups_say_nothing_of_it() -> None:
    other = replace(SMALL, strides=(1, 1, 1, 1), blocks=(3, 3, 3, 3))
    assert (other.high_stride, other.low_stride) == (4, 8)
    assert parameters(other) == parameters(SMALL)


def test_every_parameter_has_a_name_of_ours_in_the_table() -> None:
    names = [row[0] for row in official_names(SMALL)]
    assert len(set(names)) == len(names)
    assert set(names) == parameters(SMALL).keys()


def test_what_can_be_pretrained_is_the_part_before_the_top_down_one() -> None:
    family = family_of("tapir/tiny")
    pretrained = [name for name in parameters(SMALL) if family.is_backbone(name)]
    convs = [f"{family.backbone}{conv}" for conv in backbone_convs()]
    assert sorted(pretrained) == sorted(f"{conv}.{kind}" for conv in convs for kind in ("weight", "bias"))
    others = {name.split(".")[0] for name in parameters(SMALL).keys() - set(pretrained)}
    assert others == {"lite", "head", "mixer"}


@pytest.mark.parametrize("variant", [name for name in OFFICIAL if name.startswith("tapir/")])
def test_published_variants_have_the_residual_encoder_and_nothing_of_the_other(variant: str) -> None:
    assert CONFIGS[variant].encoder == "residual"
    names = parameters(replace(CONFIGS[variant], mixer_blocks=1))
    assert any(name.startswith("resnet.") for name in names)
    assert not any(name.startswith("lite.") or family_of(variant).is_backbone(name) for name in names)


def test_weights_from_before_there_was_a_choice_are_of_the_residual_encoder(tmp_path: Path) -> None:
    stored = asdict(CONFIGS["tapir/base"])
    del stored["encoder"]
    assert config_for("tapir/base", tmp_path, {"config": json.dumps(stored)}) == CONFIGS["tapir/base"]
