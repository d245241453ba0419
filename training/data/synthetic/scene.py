"""Random scenes: a background, free objects and creatures in order of depth, under one moving camera."""

from __future__ import annotations

import numpy as np

from training.data.synthetic.config import SceneConfig
from training.data.synthetic.creatures import creature
from training.data.synthetic.layers import Layer
from training.data.synthetic.objects import background, free_object, random_camera


def random_scene(rng: np.random.Generator, config: SceneConfig) -> list[Layer]:
    """Layers from back to front."""
    camera = random_camera(rng, config)
    ground, surroundings = background(rng, config, camera)
    count = int(rng.integers(config.layers[0], config.layers[1] + 1))
    creatures = int(rng.random() < config.creatures) + int(rng.random() < 0.3 * config.creatures)
    is_creature = np.zeros(count + creatures, bool)
    is_creature[:creatures] = True
    rng.shuffle(is_creature)
    depths = np.sort(rng.uniform(ground.motion.parallax, 1.5, len(is_creature)))
    layers = [ground]
    for parallax, animate in zip(depths, is_creature, strict=True):
        if animate:
            layers += creature(rng, config, camera, float(parallax), surroundings)
        else:
            layers.append(free_object(rng, config, camera, float(parallax), surroundings))
    return layers
