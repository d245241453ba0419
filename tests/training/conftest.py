import os
import sys

import pytest

# XLA compiles several times faster unoptimised, and all models here are tiny. It reads this when it starts.
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true")


@pytest.fixture(autouse=True)
def single_precision() -> None:
    """The converter to LiteRT, which other tests load, switches all of JAX to double precision as it is imported."""
    if "jax" in sys.modules:
        sys.modules["jax"].config.update("jax_enable_x64", False)
