"""Random scenes. `random_scene` draws the kind; here is that of free objects under one moving camera."""

from __future__ import annotations

import numpy as np

from training.data.synthetic.config import SceneConfig
from training.data.synthetic.creatures import creature
from training.data.synthetic.figures import solid_figure
from training.data.synthetic.layers import Layer
from training.data.synthetic.objects import background, free_object, random_camera
from training.data.synthetic.returns import returning_scene
from training.data.synthetic.solids import Solid


def random_scene(rng: np.random.Generator, config: SceneConfig) -> list[Layer | Solid]:
    """Layers from back to front, of one of the kinds of scenes that `config` allows."""
    return SCENES[config.scene(rng)](rng, config)


def free_scene(rng: np.random.Generator, config: SceneConfig) -> list[Layer | Solid]:
    """A background, free objects and creatures in order of depth."""
    camera = random_camera(rng, config)
    ground, surroundings = background(rng, config, camera)
    count = int(rng.integers(config.layers[0], config.layers[1] + 1))
    creatures = int(rng.random() < config.creatures) + int(rng.random() < 0.3 * config.creatures)
    is_creature = np.zeros(count + creatures, bool)
    is_creature[:creatures] = True
    rng.shuffle(is_creature)
    depths = np.sort(rng.uniform(ground.motion.parallax, 1.5, len(is_creature)))
    layers: list[Layer | Solid] = [ground]
    for parallax, animate in zip(depths, is_creature, strict=True):
        if not animate:
            layers.append(free_object(rng, config, camera, float(parallax), surroundings))
        elif config.solid and rng.random() < config.solid:
            layers.append(solid_figure(rng, config, camera, float(parallax), surroundings))
        else:
            layers += creature(rng, config, camera, float(parallax), surroundings)
    return layers


SCENES = {"free": free_scene, "returns": returning_scene}
"""By kind. A new kind is a function that makes layers from back to front, a row here and its name in the config."""
