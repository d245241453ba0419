import os

# XLA compiles several times faster unoptimised, and all models here are tiny. It reads this when it starts.
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true")
