import pytest

from tests.training.checkpoints import toy
from training.models import configs, families


@pytest.fixture(autouse=True)
def toy_family(monkeypatch):
    """The toy family stands in the tables beside the real ones."""
    monkeypatch.setitem(families.FAMILIES, "toy", toy.FAMILY)
    for name, config in toy.CONFIGS.items():
        monkeypatch.setitem(configs.CONFIGS, name, config)
