"""The reference's clustering network for weights by formula, under the names and in the shapes of this project."""

import json

import numpy as np
import torch

from tests.golden.formula import state, weight
from tests.support import ROOT
from training.clustering.network import ANCHORS, Evidence

with np.load(ROOT / "tests/golden/robotap_pieces.npz") as stored:
    PIECES = {name: stored[name] for name in stored.files}
SEED = int(PIECES["seed"])
SHAPES = json.loads(str(PIECES["shapes"]))
LINEAR = {
    "linear": "points.like",
    "linear_1": "points.in",
    "linear_2": "points.first.out",
    "linear_3": "points.first.in",
    "linear_4": "points.second.out",
    "linear_5": "points.second.in",
    "linear_6": "frames.in",
    "linear_7": "frames.first.out",
    "linear_8": "frames.first.in",
    "linear_9": "frames.second.out",
    "linear_10": "frames.second.in",
}
NORMS = {
    "batch_norm": "frames",
    "batch_norm_1": "points",
    "batch_norm_2": "points.first",
    "batch_norm_3": "points.second",
    "batch_norm_4": "frames.first",
    "batch_norm_5": "frames.second",
}
COPIES = ("base", "fork1", "fork2")
"""A name of the reference by one of ours."""


def tensor(name):
    return torch.tensor(PIECES[name].astype(np.float32))


def evidence():
    demonstrations = tuple((first, end) for first, end in PIECES["net/boundaries"].tolist())
    return Evidence(tensor("net/pts"), tensor("net/vis"), demonstrations)


def _parameter(name, shape):
    if name == "~/centroids":
        positions, visible = PIECES["net/pts"], PIECES["net/vis"]
        places = (positions * visible[..., None]).reshape(len(visible), -1)
        tracks = np.concatenate([places, 100 * visible], axis=1)
        return tracks[np.arange(ANCHORS) % len(tracks)].T
    drawn = weight(name, shape, "jax", SEED)
    normal = name.startswith(("~/cat_pred", "~/mat_pred", "~/frame_state"))
    return drawn * np.float32(np.sqrt(np.prod(shape[:-1]))) if normal else drawn


def weights(groups):
    """Of one start, ready for gradients."""
    theirs = {name: torch.tensor(_parameter(name, shape)).float() for name, shape in SHAPES[str(groups)].items()}
    points = len(PIECES["net/pts"])
    shapes = [theirs[f"~/cat_pred_{copy}"].reshape(points, 64, 3, groups).permute(3, 0, 1, 2) for copy in COPIES]
    motions = [theirs[f"~/mat_pred_{copy}"].reshape(128, groups, 12).transpose(0, 1) for copy in COPIES]
    ours = {
        "shapes": torch.stack(shapes),
        "motions": torch.stack(motions),
        "points.own": theirs["~/point_state"],
        "points.anchors": theirs["~/centroids"],
        "frames.own": theirs["~/frame_state"],
        "frames.smooth.w": theirs["conv1_d/w"][:, 0],
        "frames.smooth.b": theirs["conv1_d/b"][None],
    }
    for name, our in LINEAR.items():
        ours |= {f"{our}.w": theirs[f"{name}/w"], f"{our}.b": theirs[f"{name}/b"][None]}
    for name, our in NORMS.items():
        ours |= {f"{our}.scale": theirs[f"{name}/scale"], f"{our}.offset": theirs[f"{name}/offset"]}
    return {name: w[None].contiguous().requires_grad_() for name, w in ours.items()}


def gradients(ours, groups):
    """By the names, and in the shapes, of the reference."""
    found = {name: w.grad[0] for name, w in ours.items()}
    theirs = {
        "~/point_state": found["points.own"],
        "~/centroids": found["points.anchors"],
        "~/frame_state": found["frames.own"],
        "conv1_d/w": found["frames.smooth.w"],
        "conv1_d/b": found["frames.smooth.b"],
    }
    for name, our in LINEAR.items():
        theirs |= {f"{name}/w": found[f"{our}.w"], f"{name}/b": found[f"{our}.b"]}
    for name, our in NORMS.items():
        theirs |= {f"{name}/scale": found[f"{our}.scale"], f"{name}/offset": found[f"{our}.offset"]}
    for copy, shapes, motions in zip(COPIES, found["shapes"], found["motions"], strict=True):
        theirs[f"~/cat_pred_{copy}"] = shapes.permute(1, 2, 3, 0).reshape(-1, groups)
        theirs[f"~/mat_pred_{copy}"] = motions.transpose(0, 1).reshape(128, -1)
    return theirs


def statistics():
    """What the reference's norms remember."""
    remembered = {}
    for name, our in NORMS.items():
        shape = SHAPES["3"][f"{name}/scale"]
        mean, variance = (
            torch.from_numpy(state(f"{name}/~/{part}_ema/average", shape, SEED)) for part in ("mean", "var")
        )
        remembered[our] = mean[None], variance[None]
    return remembered
