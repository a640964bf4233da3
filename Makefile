# `make lab` opens the course, `make test` checks everything; a plain `make` lists the rest.
# Nothing is needed but python3 (3.11 or newer), make and git.

PYTHON ?= python3
UV ?= uv

BIN := .venv/bin
PY := $(BIN)/python
PIP := $(PY) -m pip --quiet --disable-pip-version-check

# What Jupyter and matplotlib keep for themselves stays inside the clone. The folder is not a
# hidden one, because a browser installed as a snap cannot open the start page from there.
STATE := $(CURDIR)/build/jupyter
export JUPYTER_CONFIG_DIR := $(STATE)/config
export JUPYTER_CONFIG_PATH := $(CURDIR)/tools/jupyter
export JUPYTER_DATA_DIR := $(STATE)/data
export JUPYTER_RUNTIME_DIR := $(STATE)/runtime
export IPYTHONDIR := $(STATE)/ipython
export MPLCONFIGDIR := $(STATE)/matplotlib
# The tests start hundreds of interpreters; each would compile the package anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help lab test notebooks browser render fix lock clean
.DELETE_ON_ERROR:

help:  ## list these targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s%s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# Jupyter refuses root (as in a container) without --allow-root, and starts a text browser in the
# terminal where there is no display.
LAB_FLAGS = $(if $(filter 0,$(shell id -u)),--allow-root) \
	$(if $(DISPLAY)$(WAYLAND_DISPLAY)$(filter Darwin,$(shell uname)),,--no-browser)

lab: .venv/ready  ## open the notebooks in JupyterLab (its address is printed)
	@$(BIN)/jupyter trust notebooks/*.ipynb
	$(PY) -m jupyterlab --ip=127.0.0.1 --ServerApp.root_dir='$(CURDIR)' \
		--FileContentsManager.preferred_dir=notebooks $(LAB_FLAGS)

# Tracing for coverage would slow down what the notebooks measure; the browser leaves a core idle,
# and what the notebooks assert holds on a busy machine: so those two run side by side.
test: .venv/ready  ## lint, types, tests with coverage, every notebook run and compared
	$(PY) -m ruff check
	$(PY) -m ruff format --check
	$(PY) -m mypy
	$(PY) tools/render.py --check
	$(PY) -m pytest tests --ignore=tests/browser --cov=iosim --cov-fail-under=95
	@$(MAKE) --no-print-directory --jobs=2 notebooks browser

notebooks: .venv/ready
	$(PY) -m pytest --nbval notebooks

browser: .venv/ready
	$(PY) -m pytest tests/browser

render: .venv/ready  ## execute the notebooks and store them in their normal form
	$(PY) tools/render.py

fix: .venv/ready  ## let ruff repair and format what it can
	$(PY) -m ruff check --fix
	$(PY) -m ruff format

lock:  ## refresh requirements.txt (needs uv)
	$(UV) pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes \
		--no-emit-index-url --custom-compile-command 'make lock' --all-extras \
		pyproject.toml -o requirements.txt

clean:  ## remove the environment and everything that was built
	rm -rf .venv build .coverage .coverage.* .mypy_cache .pytest_cache .ruff_cache .hypothesis

# Two steps: a changed lock makes a new environment, a changed pyproject.toml only reinstalls iosim.
# The lock is complete, so nothing is left to resolve: with its dependencies, an older pip takes
# `coverage[toml]` for another project than the locked `coverage`, and wants the newest of it.
.venv/locked: requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo \
		"iosim needs Python 3.11 or newer; name one: make $(MAKECMDGOALS) PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo \
		"$(PYTHON) cannot make environments; on Debian and Ubuntu: apt install python3-venv"; exit 1; }
	@echo "Making .venv from requirements.txt (about a minute) ..."
	@$(PYTHON) -m venv --clear .venv
	@$(PIP) install --no-deps --require-hashes -r requirements.txt
	@touch $@

# The news prompt of JupyterLab would cover the page and ask a host; matplotlib's first import
# builds its font cache, and may say so in a notebook's output.
.venv/ready: .venv/locked pyproject.toml
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@$(BIN)/jupyter labextension disable @jupyterlab/apputils-extension:announcements \
		--log-level=ERROR
	@$(PY) -c 'import matplotlib.font_manager'
	@touch $@
