import numpy as np
import pytest

import tapsdk
from tapsdk.artifact import open_artifact
from tapsdk.artifact.fetch import next_step
from tapsdk.artifact.registry import ALIASES, OFFICIAL
from tapsdk.errors import ModelError
from training.models.registry import CONFIGS, family_of

DEEPMIND = "https://storage.googleapis.com/dm-tapnet/"

# As DeepMind's README lists them.
ADDRESSES = {
    "tapir/base": ["tapir_checkpoint_panning.npy", "tapir_checkpoint_panning.pt"],
    "tapir/causal": ["causal_tapir_checkpoint.npy"],
    "tapir/boots": ["bootstap/bootstapir_checkpoint_v2.npy", "bootstap/bootstapir_checkpoint_v2.pt"],
    "tapir/boots-causal": [
        "bootstap/causal_bootstapir_checkpoint.npy",
        "bootstap/causal_bootstapir_checkpoint.pt",
    ],
    "tapnext/base": ["tapnext/bootstapnext_ckpt.npz"],
    "tapnext/plus": ["tapnextpp/tapnextpp_ckpt.pt"],
    "tapnet/base": ["checkpoint.npy"],
    "trajan/base": ["trajan/track_autoencoder_ckpt.npz"],
}


@pytest.mark.parametrize("model", ADDRESSES)
def test_addresses(model):
    assert list(OFFICIAL[model].addresses) == [DEEPMIND + path for path in ADDRESSES[model]]


def test_the_large_tapnext_lies_elsewhere():
    expected = ("https://storage.googleapis.com/gresearch/tapnextpp/tapnextpp_512.ckpt",)
    assert OFFICIAL["tapnext/plus-512"].addresses == expected


def test_no_two_models_share_a_file():
    addresses = [address for official in OFFICIAL.values() for address in official.addresses]
    assert len(set(addresses)) == len(addresses)


@pytest.mark.parametrize("official", OFFICIAL.values(), ids=OFFICIAL)
def test_rows_are_sane(official):
    assert official.licence == "Apache-2.0"
    for accuracy in official.accuracy:
        values = (accuracy.average_jaccard, accuracy.delta_avg, accuracy.occlusion_accuracy)
        assert all(0 < value < 100 for value in values if value is not None)
        assert accuracy.source in ("repository", "quoted")


def test_the_authors_own_number_comes_first():
    for official in OFFICIAL.values():
        assert [a.source for a in official.accuracy][:1] in ([], ["repository"])


def test_every_published_model_has_a_configuration():
    assert set(OFFICIAL) == set(CONFIGS) - {"tapir/tiny", "tapir/small"}


def test_what_tracks_video_has_stages_to_be_exported_and_nothing_else():
    assert all(official.can_be_exported == (family_of(m).stages is not None) for m, official in OFFICIAL.items())


def test_a_model_that_scores_tracks_says_so_wherever_a_tracker_is_asked_for():
    sentence = "trajan/base tracks no video; it scores tracks: python -m training evaluate --metrics trajan"
    with pytest.raises(ModelError, match=f"^{sentence}$"):
        tapsdk.track(np.zeros((2, 8, 8, 3), np.uint8), [[1, 1]], model="trajan/base")
    assert next_step("trajan/base") == f"{sentence}."


def test_aliases_lead_to_models():
    assert set(ALIASES.values()) <= set(CONFIGS)


@pytest.mark.parametrize("model", OFFICIAL)
def test_tracking_with_an_official_name_says_what_to_do(model):
    with pytest.raises(ModelError) as caught:
        open_artifact(model)
    assert (f"tapsdk fetch {model}" in str(caught.value)) == OFFICIAL[model].can_be_exported
