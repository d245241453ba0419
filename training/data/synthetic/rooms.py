"""Rooms: boxes between walls, some of them moving, seen by a camera that travels into the room.

All of it is known exactly: tracks in the picture and in space, visibility, depth, intrinsics and poses. The world is
metres, x to the right, y down, z into the room. There is no motion blur, as depth has none.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.data.spatial_video import SpatialVideo
from training.data.synthetic.appearance import Appearance
from training.data.synthetic.config import SceneConfig
from training.data.synthetic.motion import Array, wander
from training.data.synthetic.room_rendering import Block, View, cast, render
from training.data.synthetic.solids import euler

TEXTURE_DISTANCE = 3.5
"""Metres at which a texel is as large as a pixel."""
START = 0.8
"""Metres into the room, where the middle of the camera's way is."""
_STREAM = 3
"""Of random numbers: after those of flat clips, so that a seed gives different rooms and clips."""
_ROUNDS = 20
_RING = np.stack([np.cos(np.arange(8) * np.pi / 4), np.sin(np.arange(8) * np.pi / 4)], -1)
_BORDER = 0.01


@dataclass(frozen=True)
class Room:
    """blocks: the room itself, which is seen from within, then what is in it. view: the camera that sees them."""

    blocks: list[Block]
    view: View


def make_room(config: SceneConfig, seed: int) -> SpatialVideo:
    """The room that `config` and `seed` determine; of the config: size, frames, points, query, textures, looks,
    foreground, motion, camera and layers, which is the number of boxes."""
    scene_rng, look_rng, point_rng = (np.random.default_rng([seed, _STREAM + k]) for k in range(3))
    room = random_room(scene_rng, config)
    appearance = Appearance.random(look_rng, config)
    frames, depth = [], []
    for t in range(config.frames):
        picture, map_ = render(room.blocks, room.view, t)
        frames.append(appearance.apply(picture, float(t), look_rng))
        depth.append(map_)
    return SpatialVideo(np.stack(frames), *_tracks(room, config, point_rng), np.stack(depth), *room.view.known)


def random_room(rng: np.random.Generator, config: SceneConfig) -> Room:
    """Walls, boxes, and a camera on its way."""
    times = np.arange(config.frames, dtype=np.float64)
    focal = float(rng.uniform(0.9, 1.4) * max(config.height, config.width))
    density = focal / TEXTURE_DISTANCE
    view = View((config.height, config.width), focal, *_camera(rng, config, times))
    still = np.zeros((config.frames, 3))
    shell = Block.of(
        np.array([3.2, 1.6, 5.5]), still + np.array([0, 0, 3.5]), still, density, rng, config, inside_out=True
    )
    blocks = [shell]
    count = int(rng.integers(max(config.layers[0], 1), max(config.layers[1], 1) + 1))
    for index in range(count):
        half = rng.uniform(0.15, 0.5, 3)
        ahead = rng.uniform(2.4, 6)
        # Within the view from the middle of the camera's way.
        aside = rng.uniform(-0.8, 0.8, 2) * np.array([config.width, config.height]) / (2 * focal) * ahead
        at = np.append(np.clip(aside, (-2.5, -1.2), (2.5, 1.2)), ahead + START)
        angles = rng.uniform(-np.pi, np.pi, 3) * [0.1, 1, 0.1]
        path, turn = still + at, still + angles
        # The first moves whatever happens, before the others.
        if index == 0 or rng.random() < 0.4:
            speed = config.motion * rng.uniform(0.02, 0.08)
            path = wander(rng, config.frames, speed, 3, reach=1.5, drift=0.8)(times) * [1, 0.3, 0.4] + at
            path[:, 2] = np.maximum(path[:, 2], 2.9)
            turn = wander(rng, config.frames, config.motion * rng.uniform(0, 0.04), 3)(times) + angles
        blocks.append(Block.of(half, path, turn, density, rng, config))
    return Room(blocks, view)


def _camera(rng: np.random.Generator, config: SceneConfig, times: Array) -> tuple[Array, Array]:
    """Positions [T, 3] and rotations [T, 3, 3], camera to world, of a camera that goes into the room or backs out."""
    travel = config.camera * rng.uniform(0.8, 2.0) * min(1.0, len(times) / 16) * rng.choice([-1, 1])
    share = times / max(len(times) - 1, 1) - 0.5
    sway = wander(rng, len(times), 0.02 * config.camera, 3, reach=0.3)(times)
    position = sway + np.stack([0 * share, 0 * share, START + travel * share], -1)
    position[:, 2] = np.clip(position[:, 2], -1.5, 2.2)
    turn = wander(rng, len(times), 0.008 * config.camera, 3, reach=0.12)(times)
    return position, euler(turn)


def _tracks(room: Room, config: SceneConfig, rng: np.random.Generator) -> tuple[NDArray, ...]:
    """xy, xyz, xyz_world, visible and queries, see SpatialVideo."""
    block, local, frame = _chosen(room, config, rng)
    world = np.empty((len(block), config.frames, 3))
    for index in np.unique(block):
        mine, each = block == index, room.blocks[index]
        world[mine] = np.einsum("tij,nj->nti", each.turns, local[mine]) + each.centres
    camera = room.view.to_camera(world)
    xy = room.view.project(camera)
    visible = np.zeros(xy.shape[:2], bool)
    for t in range(config.frames):
        inside = (camera[:, t, 2] > 0) & (xy[:, t] >= 0).all(-1) & (xy[:, t] < (config.width, config.height)).all(-1)
        nearest, _, _ = cast(room.blocks, room.view, t, xy[inside, t])
        visible[inside, t] = nearest >= camera[inside, t, 2] * (1 - 1e-6)
    if config.query == "first":
        frame = visible.argmax(axis=1)
    queries = np.concatenate([frame[:, None], xy[np.arange(len(xy)), frame]], axis=1)
    return *(array.astype(np.float32) for array in (xy, camera, world)), visible, queries.astype(np.float32)


def _chosen(room: Room, config: SceneConfig, rng: np.random.Generator) -> tuple[NDArray[np.intp], Array, NDArray]:
    """Points that are seen a pixel or more from any edge: blocks [N], places in their coordinates [N, 3], frames [N].

    A share `foreground` of them on boxes, as far as there are so many.
    """
    wanted = round(config.foreground * config.points)
    found: list[tuple[NDArray, ...]] = []
    for _ in range(_ROUNDS):
        t = 0 if config.query == "frame0" else int(rng.integers(config.frames))
        xy = rng.uniform(_BORDER, np.array([config.width, config.height]) - _BORDER, (4 * config.points, 2))
        _, block, local = cast(room.blocks, room.view, t, xy)
        ring = cast(room.blocks, room.view, t, (xy[:, None] + _RING).reshape(-1, 2))[1].reshape(len(xy), -1)
        clear = (ring == block[:, None]).all(axis=1)
        found.append((block[clear], local[clear], np.full(clear.sum(), t)))
    block, local, frame = (np.concatenate(parts) for parts in zip(*found, strict=True))
    order = rng.permutation(len(block))
    boxes = order[block[order] > 0][:wanted]
    walls = order[block[order] == 0][: config.points - len(boxes)]
    rest = np.setdiff1d(order, np.concatenate([boxes, walls]))[: config.points - len(boxes) - len(walls)]
    rows = rng.permutation(np.concatenate([boxes, walls, rest]))
    return block[rows], local[rows], frame[rows]
