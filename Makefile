# make demo   a tracked video in out/, from nothing but Python and a C++ compiler (VIDEO=path for your own)
# make test   the test suite, in PROCESSES=2; make test-slow runs what it leaves out, such as full-size models
# make notebooks  the notebooks of examples/notebooks, run anew into out/notebooks; NAMES="rainbow online" for some
# make docs   the documentation as a site in out/site, readable without a network; warnings are errors
# make gallery  the pictures of docs/gallery.md, by running its code; NAMES="rainbow groups" for some
# make wheel  a wheel for other machines in out/wheels, checked and tried in a fresh environment without a compiler
# make benchmark  tapsdk beside its peers on this machine; ARGS="--quick", ARGS="--only points", ARGS=check
# make fuzz   spoilt inputs for every reader and kernel, SECONDS=600 a surface; SURFACES="tracks videos" for some
PYTHON ?= python3
VIDEO ?=
PYTEST_ARGS ?=
PROCESSES ?= 2
SECONDS ?= 600
NAMES ?=
SURFACES ?=
ARGS ?=
SOURCES = pyproject.toml CMakeLists.txt $(shell find kernels bindings tapsdk -type f -not -name '*.pyc')

.PHONY: demo test test-slow notebooks docs gallery wheel benchmark fuzz clean

demo: .venv-demo/installed
	.venv-demo/bin/python examples/demo.py $(if $(VIDEO),"$(VIDEO)")

test: .venv-test/installed
	.venv-test/bin/python -m pytest -m "not slow" -n $(PROCESSES) --dist loadfile $(PYTEST_ARGS)

test-slow: .venv-test/installed
	.venv-test/bin/python -m pytest -m slow $(PYTEST_ARGS)

notebooks: .venv-notebooks/installed
	.venv-notebooks/bin/python -m tools.notebooks $(NAMES)

docs: .venv-docs/installed
	.venv-docs/bin/python -m mkdocs build

gallery: .venv-test/installed
	.venv-test/bin/python -m tools.gallery $(NAMES)

wheel: .venv-release/installed
	rm -rf out/wheels out/wheels-unchecked
	.venv-release/bin/python -m pip wheel --quiet --no-deps --wheel-dir out/wheels-unchecked .
	PATH="$(CURDIR)/.venv-release/bin:$$PATH" .venv-release/bin/auditwheel repair --wheel-dir out/wheels \
		out/wheels-unchecked/*.whl
	.venv-release/bin/python -m twine check --strict out/wheels/*.whl
	tools/try_wheel.sh out/wheels/*.whl $(PYTHON)

benchmark: .venv-benchmark/installed
	.venv-benchmark/bin/python -m benchmarks $(ARGS)

fuzz: .venv-test/installed
	cmake -S . -B build/fuzz -DTAPKERNELS_TEST=ON -DTAPKERNELS_SANITIZE=ON
	cmake --build build/fuzz --parallel 2
	build/fuzz/fuzz_kernels $(SECONDS)
	.venv-test/bin/python -m tests.fuzz.run --seconds $(SECONDS) $(SURFACES)

.venv-demo/installed: $(SOURCES)
	$(PYTHON) -m venv .venv-demo
	.venv-demo/bin/python -m pip install --quiet --disable-pip-version-check .
	touch $@

# The others have the packages of the extra that they are named after.
.venv-%/installed: $(SOURCES)
	$(PYTHON) -m venv .venv-$*
	.venv-$*/bin/python -m pip install --quiet --disable-pip-version-check ".[$*]"
	touch $@

clean:
	rm -rf .venv-demo .venv-test .venv-notebooks .venv-docs .venv-release .venv-benchmark build out
