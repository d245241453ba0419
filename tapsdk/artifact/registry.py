"""Models that have names. Of ours, what sets them apart; of the published ones, files, licence and accuracy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tapsdk.artifact.manifest import Curve
from tapsdk.geometry import Size

ALIASES = {"tapir": "tapir/tiny"}
"""Short names of models."""

CALIBRATIONS: dict[str, Curve] = {
    "tapir/tiny": ((0.0, 0.0), (0.25, 0.116), (0.5, 0.255), (0.75, 0.396), (0.9, 0.651), (1.0, 1.0)),
    "tapir/small": ((0.0, 0.0), (0.25, 0.154), (0.5, 0.265), (0.75, 0.521), (0.9, 0.8), (1.0, 1.0)),
}
"""Of our own models, measured on generated clips (`python -m training calibrate --fit`): see `Visibility`."""


@dataclass(frozen=True)
class Enlarged:
    """A bundled model that is another one with the same weights on larger frames.

    base: that one's name. size: (height, width) of whose area the frames are.
    """

    base: str
    size: Size


ENLARGED = {"tapir/small": Enlarged("tapir/tiny", (512, 512))}
"""By name."""

DEEPMIND = "https://storage.googleapis.com/dm-tapnet/"
RESEARCH = "https://storage.googleapis.com/gresearch/"


@dataclass(frozen=True)
class Accuracy:
    """Published accuracy on TAP-Vid DAVIS, queries at each point's first visible frame, in percent."""

    average_jaccard: float
    delta_avg: float | None
    """Average share of visible points within 1, 2, 4, 8 and 16 px at 256x256; None where it was not given."""
    occlusion_accuracy: float | None
    source: Literal["repository", "quoted"]
    """repository: the authors' own table, for this very file. quoted: a paper's number as other papers
    give it; a paper's checkpoint need not be the published file, so the two may differ."""
    resolution: int = 256
    """Side of the frames that the model saw."""


@dataclass(frozen=True)
class Official:
    """A published model: one or more files that hold the same weights."""

    title: str
    addresses: tuple[str, ...]
    """The first one is fetched: a format that is read without PyTorch, where there is one."""
    accuracy: tuple[Accuracy, ...] = ()
    licence: str = "Apache-2.0"
    use: str = ""
    """What the model does instead, if it tracks no video: ends the sentences that refuse it."""
    frame_by_frame: str = ""
    """The variant that runs frame by frame, where this one needs whole videos."""

    @property
    def can_be_exported(self) -> bool:
        """Whether `tapsdk export` knows the family: it knows all that track video."""
        return not self.use


OFFICIAL: dict[str, Official] = {
    "tapir/base": Official(
        "TAPIR",
        (f"{DEEPMIND}tapir_checkpoint_panning.npy", f"{DEEPMIND}tapir_checkpoint_panning.pt"),
        (Accuracy(58.5, None, None, "repository"), Accuracy(56.2, 70.0, 86.5, "quoted")),
        frame_by_frame="tapir/causal",
    ),
    "tapir/causal": Official(
        "Online TAPIR",
        (f"{DEEPMIND}causal_tapir_checkpoint.npy",),
        (Accuracy(56.2, None, None, "repository"),),
    ),
    "tapir/boots": Official(
        "BootsTAPIR",
        (
            f"{DEEPMIND}bootstap/bootstapir_checkpoint_v2.npy",
            f"{DEEPMIND}bootstap/bootstapir_checkpoint_v2.pt",
        ),
        (Accuracy(62.4, None, None, "repository"), Accuracy(61.4, None, None, "quoted")),
        frame_by_frame="tapir/boots-causal",
    ),
    "tapir/boots-causal": Official(
        "Online BootsTAPIR",
        (
            f"{DEEPMIND}bootstap/causal_bootstapir_checkpoint.npy",
            f"{DEEPMIND}bootstap/causal_bootstapir_checkpoint.pt",
        ),
        (Accuracy(59.7, None, None, "repository"), Accuracy(59.7, 72.3, 86.9, "quoted")),
    ),
    "tapnext/base": Official(
        "BootsTAPNext",
        (f"{DEEPMIND}tapnext/bootstapnext_ckpt.npz",),
        (Accuracy(65.25, None, None, "repository"), Accuracy(65.2, 78.5, 91.2, "quoted")),
    ),
    "tapnext/plus": Official(
        "TAPNext++",
        (f"{DEEPMIND}tapnextpp/tapnextpp_ckpt.pt",),
        (Accuracy(65.6, 79.0, 92.0, "repository"),),
    ),
    "tapnext/plus-512": Official(
        "TAPNext++ at 512 px",
        (f"{RESEARCH}tapnextpp/tapnextpp_512.ckpt",),
        (Accuracy(67.0, None, None, "repository", resolution=512),),
    ),
    "tapnet/base": Official(
        "TAP-Net",
        (f"{DEEPMIND}checkpoint.npy",),
        (Accuracy(33.0, None, None, "repository"),),
    ),
    "trajan/base": Official(
        "TRAJAN",
        (f"{DEEPMIND}trajan/track_autoencoder_ckpt.npz",),
        use="scores tracks: python -m training evaluate --metrics trajan",
    ),
}


def frame_by_frame(model: str) -> str:
    """A model that runs frame by frame in place of one that needs whole videos: its variant, else the bundled one."""
    return (OFFICIAL[model].frame_by_frame if model in OFFICIAL else "") or ALIASES["tapir"]
