from collections.abc import Iterator

import pytest

import tapkernels


@pytest.fixture(params=tapkernels.info()["available_isas"])
def isa(request: pytest.FixtureRequest) -> Iterator[str]:
    """Every instruction set that this machine offers, in turn."""
    tapkernels.set_isa(request.param)
    yield request.param
    tapkernels.set_isa(None)
