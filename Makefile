# `make lab` opens the course, `make test` checks everything; a plain `make` lists the rest.
# Nothing is needed but python3 (3.11 or newer), make and git.

PYTHON ?= python3
UV ?= uv

# Another environment: make test VENV=build/venv-3.12 PYTHON=python3.12
VENV ?= .venv
PY := $(VENV)/bin/python
PIP := $(PY) -m pip --quiet --disable-pip-version-check

# What Jupyter and matplotlib keep for themselves stays inside the clone. The folder is not a
# hidden one, because a browser installed as a snap cannot open the start page from there.
# How the notebooks are served and exported stands in tools/jupyter.
STATE := $(CURDIR)/build/jupyter
export JUPYTER_CONFIG_PATH := $(CURDIR)/tools/jupyter
export JUPYTER_CONFIG_DIR := $(STATE)/config
export JUPYTER_DATA_DIR := $(STATE)/data
export JUPYTER_RUNTIME_DIR := $(STATE)/runtime
export IPYTHONDIR := $(STATE)/ipython
export MPLCONFIGDIR := $(STATE)/matplotlib
# The tests start hundreds of interpreters; each would compile the package anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help lab fresh test notebooks browser matrix soak mutants render fix lock clean
.DELETE_ON_ERROR:

help:  ## list these targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s%s\n", $$1, $$2 }' Makefile

# Jupyter refuses root (as in a container) without --allow-root, and starts a text browser in the
# terminal where there is no display.
LAB_FLAGS = $(if $(filter 0,$(shell id -u)),--allow-root) \
	$(if $(DISPLAY)$(WAYLAND_DISPLAY)$(filter Darwin,$(shell uname)),,--no-browser)

lab: $(VENV)/ready  ## open the notebooks in JupyterLab, as copies in work/ (its address is printed)
	@$(PY) tools/copies.py
	$(PY) -m jupyterlab --ip=127.0.0.1 --ServerApp.root_dir=. \
		--LabApp.default_url=/lab/tree/work/00_start_here.ipynb $(LAB_FLAGS)

fresh: $(VENV)/ready  ## begin a notebook afresh, and keep yours: make fresh NOTEBOOK=03_blocking
	@$(PY) tools/copies.py --fresh "$$NOTEBOOK"

test: $(VENV)/testing  ## lint, types, tests with coverage, every notebook run and compared
	@$(PY) tools/suite.py

notebooks browser: $(VENV)/testing
	@$(PY) tools/suite.py $@

matrix:  ## `make test` on every Python of this machine (or PYTHONS="3.11 3.13")
	@$(PYTHON) tools/matrix.py $(PYTHONS)

ROUNDS ?= 30
soak: $(VENV)/testing  ## real tests and notebooks on a very busy machine, ROUNDS=30 times
	@$(PY) tools/soak.py $(ROUNDS)

NUMBER ?= 30
mutants: $(VENV)/mutating  ## which of NUMBER=30 random faults no test sees (SINCE=commit: only in what changed)
	@$(PY) tools/mutants.py --number "$(NUMBER)" $(if $(SINCE),--since "$(SINCE)")

render: $(VENV)/testing  ## execute the notebooks and store them in their normal form
	$(PY) tools/render.py

fix: $(VENV)/testing  ## let ruff repair and format what it can
	$(PY) -m ruff check --fix
	$(PY) -m ruff format

# Three locks: what a reader needs, what a test needs on top, and what `make mutants` needs on top.
COMPILE = $(UV) pip compile --quiet --upgrade --universal --python-version 3.11 \
	--generate-hashes --no-emit-index-url --custom-compile-command 'make lock' pyproject.toml
lock:  ## refresh requirements.txt, requirements-test.txt and requirements-mutants.txt (needs uv)
	@mkdir -p build
	$(COMPILE) --extra notebooks --extra build -o requirements.txt
	$(COMPILE) --extra notebooks --extra build --extra test --constraint requirements.txt \
		-o build/tested.txt
	$(PYTHON) tools/lock.py build/tested.txt requirements.txt > requirements-test.txt
	$(COMPILE) --all-extras --constraint build/tested.txt -o build/everything.txt
	$(PYTHON) tools/lock.py build/everything.txt build/tested.txt > requirements-mutants.txt

clean:  ## remove the environments and everything that was built; work/ stays
	rm -rf .venv build .coverage .coverage.* .mypy_cache .pytest_cache .ruff_cache .hypothesis

# Steps: a changed lock makes a new environment, a changed pyproject.toml only reinstalls iosim.
# The lock is complete, so nothing is left to resolve: with its dependencies, an older pip takes
# `coverage[toml]` for another project than the locked `coverage`, and wants the newest of it.
LOCKED := --no-deps --require-hashes --requirement
$(VENV)/locked: requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo \
		"iosim needs Python 3.11 or newer; name one: make $(MAKECMDGOALS) PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo \
		"$(PYTHON) cannot make environments; on Debian and Ubuntu: apt install python3-venv"; exit 1; }
	@echo "Making $(VENV) from requirements.txt (about a minute) ..."
	@$(PYTHON) -m venv --clear $(VENV)
	@$(PIP) install $(LOCKED) requirements.txt
	@touch $@

# The news prompt of JupyterLab would cover the page and ask a host; matplotlib's first import
# builds its font cache, and may say so in a notebook's output.
$(VENV)/ready: $(VENV)/locked pyproject.toml
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@$(PY) -m jupyter labextension disable @jupyterlab/apputils-extension:announcements \
		--log-level=ERROR
	@$(PY) -c 'import matplotlib.font_manager'
	@touch $@

$(VENV)/testing: $(VENV)/ready requirements-test.txt
	@echo "Adding what the tests need, from requirements-test.txt ..."
	@$(PIP) install $(LOCKED) requirements-test.txt
	@touch $@

$(VENV)/mutating: $(VENV)/testing requirements-mutants.txt
	@echo "Adding what plants faults, from requirements-mutants.txt ..."
	@$(PIP) install $(LOCKED) requirements-mutants.txt
	@touch $@
