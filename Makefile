# Every target sets up what it needs by itself; nothing but Python 3.10+ and make has to be there.
#
#   make demo          run the whole pipeline on real text, offline, half a minute
#   make test          the quick tests
#   make test-slow     tests that take longer: killing and resuming, full disks, the demo's figures
#   make test-gpu      tests on a GPU, in parallel; says so where there is none
#   make train-env     an environment for `colmodern train`: .venv-train/bin/colmodern train CONFIG
#   make test-pylate   training through PyLate, and embeddings against PyLate itself, in another one
#   make test-tools    PyTerrier, LangChain, LlamaIndex and ir_datasets themselves, in another one; needs Java
#   make test-cluster  encoding, building, searching and serving on a Ray cluster of this machine, in another one
#   make check         lint, types, and the samples of README and documentation
#   make docs          the documentation as pages that open offline: site/index.html
#   make reference     write the pages of settings and commands anew from the code
#   make wheel         dist/colmodern-*.whl and the sdist beside it
#   make test-wheel    both built from the tracked files, the wheel installed and used as a user would
#   make test-installs the wheel with the newest and the oldest dependencies, Python 3.10 to 3.13: long, and GBs
#
# On a machine without a GPU, TORCH_INDEX=https://download.pytorch.org/whl/cpu takes the small build
# of torch; PYTHON=python3.12 takes another Python.

PYTHON ?= python3
TORCH_INDEX ?=
TORCH := torch==2.13.0
VENV := .venv
PYLATE_VENV := .venv-pylate
TOOLS_VENV := .venv-tools
CLUSTER_VENV := .venv-cluster
DOCS_VENV := .venv-docs
TRAIN_VENV := .venv-train
TRAIN_TORCH := torch==2.11.0
PIP_FLAGS := --quiet --disable-pip-version-check
# one process for each CPU, each of which computes on one thread
PYTEST_PARALLEL = OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest -n logical --maxprocesses 4 --dist worksteal

# a venv and the right build of torch in it: $(call new_venv,FOLDER) or $(call new_venv,FOLDER,torch==2.11.0)
define new_venv
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
		{ echo "colmodern needs Python 3.10 or newer; run: make PYTHON=python3.12 ..."; exit 2; }
	@echo "setting up $(1) (a few minutes the first time)"
	@$(PYTHON) -m venv $(1)
	@$(1)/bin/python -m pip install $(PIP_FLAGS) $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) $(or $(2),$(TORCH))
endef

.PHONY: demo test test-slow test-gpu test-pylate test-tools test-cluster train-env check docs reference wheel test-wheel test-installs clean

demo: $(VENV)/.ready
	$(VENV)/bin/colmodern eval demo

test: $(VENV)/.ready
	$(PYTEST_PARALLEL)

test-slow: $(VENV)/.ready
	$(VENV)/bin/python -m pytest -m slow

test-gpu: $(VENV)/.ready
	$(VENV)/bin/python tests/on_gpu.py

# other files import packages that this environment lacks
test-pylate: $(PYLATE_VENV)/.ready
	$(PYLATE_VENV)/bin/python -m pytest -m pylate $$(grep -rl --include='test_*.py' 'mark\.pylate' tests)

test-tools: $(TOOLS_VENV)/.ready
	$(TOOLS_VENV)/bin/python -m pytest -m tools

# two clusters at a time; the tests of a file share one
test-cluster: $(CLUSTER_VENV)/.ready
	OMP_NUM_THREADS=1 $(CLUSTER_VENV)/bin/python -m pytest -m cluster -n 2 --dist loadfile

check: $(VENV)/.ready
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(PYTEST_PARALLEL) -m docs

docs: $(DOCS_VENV)/.ready
	$(DOCS_VENV)/bin/zensical build --strict --clean
	$(DOCS_VENV)/bin/python docs/check_site.py

reference: $(VENV)/.ready
	$(VENV)/bin/python docs/generate.py

wheel: $(VENV)/.ready
	$(VENV)/bin/python -c 'from setuptools.build_meta import build_sdist; build_sdist("dist")'
	$(VENV)/bin/python -c 'from setuptools.build_meta import build_wheel; build_wheel("dist")'

test-wheel: $(VENV)/.ready
	$(VENV)/bin/python -m pytest -m wheel

test-installs: wheel
	experiments/install_matrix.sh dist/colmodern-*.whl

$(VENV)/.ready: setup.cfg setup.py pyproject.toml constraints.txt
	$(call new_venv,$(VENV))
	@$(VENV)/bin/python -m pip install $(PIP_FLAGS) -c constraints.txt -e '.[dev]'
	@touch $@

# PyLate's own pins ask for an older torch through its index, which encoding does not need
$(PYLATE_VENV)/.ready: setup.cfg setup.py tests/pylate-requirements.txt
	$(call new_venv,$(PYLATE_VENV))
	@$(PYLATE_VENV)/bin/python -m pip install $(PIP_FLAGS) -r tests/pylate-requirements.txt
	@$(PYLATE_VENV)/bin/python -m pip install $(PIP_FLAGS) --no-deps \
		pylate==1.6.0 sentence-transformers==5.3.0 -e .
	@touch $@

$(TOOLS_VENV)/.ready: setup.cfg setup.py constraints.txt
	$(call new_venv,$(TOOLS_VENV))
	@$(TOOLS_VENV)/bin/python -m pip install $(PIP_FLAGS) -c constraints.txt -e '.[dev,tools]'
	@touch $@

$(CLUSTER_VENV)/.ready: setup.cfg setup.py constraints.txt
	$(call new_venv,$(CLUSTER_VENV))
	@$(CLUSTER_VENV)/bin/python -m pip install $(PIP_FLAGS) -c constraints.txt -e '.[dev,ray]'
	@touch $@

# the extra without the package, which would bring torch along: the code is read, never imported
$(DOCS_VENV)/.ready: setup.cfg constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "the documentation's tools need Python 3.11 or newer; run: make PYTHON=python3.12 docs"; exit 2; }
	@echo "setting up $(DOCS_VENV) (half a minute the first time)"
	@$(PYTHON) -m venv $(DOCS_VENV)
	@$(DOCS_VENV)/bin/python -c "import configparser; c = configparser.ConfigParser(); \
		c.read('setup.cfg'); print(c['options.extras_require']['docs'])" > $(DOCS_VENV)/extra.txt
	@$(DOCS_VENV)/bin/python -m pip install $(PIP_FLAGS) -c constraints.txt -r $(DOCS_VENV)/extra.txt
	@touch $@

# the whole extra, PyLate's index with its compiled parts and its older torch included
train-env: $(TRAIN_VENV)/.ready

$(TRAIN_VENV)/.ready: setup.cfg setup.py
	$(call new_venv,$(TRAIN_VENV),$(TRAIN_TORCH))
	@$(TRAIN_VENV)/bin/python -m pip install $(PIP_FLAGS) -e '.[train,plot]'
	@touch $@

clean:
	rm -rf $(VENV) $(PYLATE_VENV) $(TOOLS_VENV) $(CLUSTER_VENV) $(TRAIN_VENV) $(DOCS_VENV) build dist site .cache *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
