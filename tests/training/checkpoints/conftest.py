import pytest

from tests.training.checkpoints import toy
from training.models import registry


@pytest.fixture(autouse=True)
def toy_family(monkeypatch):
    """The toy family stands in the tables beside the real ones."""
    monkeypatch.setitem(registry.FAMILIES, "toy", toy.FAMILY)
    for name, config in toy.CONFIGS.items():
        monkeypatch.setitem(registry.CONFIGS, name, config)
