"""PyTorch as an engine: what only it does."""

import pytest

from tapsdk.backends import open_backend
from tapsdk.errors import BackendError
from tests.support import import_or_skip

torch = import_or_skip("torch")


@pytest.mark.parametrize("device", ["cuda:99", "abacus"])
def test_a_device_that_is_not_there(monkeypatch, device):
    monkeypatch.setenv("TAPSDK_TORCH_DEVICE", device)
    with pytest.raises(BackendError, match=f"no device '{device}' here: .*TAPSDK_TORCH_DEVICE asks for '{device}'"):
        open_backend("torch")


def test_the_device_can_be_named(monkeypatch):
    monkeypatch.setenv("TAPSDK_TORCH_DEVICE", "cpu")
    assert open_backend("torch").describe() == f"torch {torch.__version__} (cpu)"


@pytest.mark.skipif(torch.cuda.is_available() or torch.backends.mps.is_available(), reason="has an accelerator")
def test_without_an_accelerator_it_is_the_processor():
    assert open_backend("torch").describe().endswith("(cpu)")
