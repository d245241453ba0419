"""A small scene in three dimensions, as TAPVid-3D keeps it: points on a floor and a wall, and a camera that moves."""

from __future__ import annotations

import numpy as np

from training.data.tracked_video3d import TrackedVideo3D, project

FRAMES, HEIGHT, WIDTH = 6, 36, 48
INTRINSICS = np.array([40.0, 42.0, 24.0, 18.0])


def scene(name: str = "made", points: int = 7, seed: int = 0, moving: bool = True) -> TrackedVideo3D:
    """Points at 2 to 4 metres that stand still, seen by a camera that goes forward and to the right as it turns."""
    rng = np.random.default_rng(seed)
    angle = np.linspace(0, 0.05, FRAMES)
    world_to_camera = np.tile(np.eye(4), (FRAMES, 1, 1))
    world_to_camera[:, 0, 0] = world_to_camera[:, 2, 2] = np.cos(angle)
    world_to_camera[:, 0, 2], world_to_camera[:, 2, 0] = np.sin(angle), -np.sin(angle)
    world_to_camera[:, :3, 3] = np.outer(np.arange(FRAMES), [-0.02, 0, -0.04])
    world = np.column_stack([rng.uniform(-0.8, 0.8, (points, 2)), rng.uniform(2, 4, points)])
    xyz = np.einsum("tij,nj->nti", world_to_camera[:, :3, :3], world) + world_to_camera[:, :3, 3]
    visible = rng.random((points, FRAMES)) < 0.8
    first = rng.integers(0, FRAMES, points)
    visible[np.arange(points), first] = True
    xy = project(xyz, INTRINSICS)[np.arange(points), first]
    queries = np.column_stack([first, xy])
    frames = rng.integers(0, 255, (FRAMES, HEIGHT, WIDTH, 3), np.uint8)
    return TrackedVideo3D(name, frames, xyz, visible, queries, INTRINSICS, world_to_camera if moving else None)
