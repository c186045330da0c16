# One machine, few commands: `make run` starts everything, `make hub` with a JupyterHub, `make test` tests it.
#
# Both make .venv when it is missing or older than pyproject.toml or the front end's sources. Nothing is installed
# outside the checkout. Node (20.19+ or 22.12+) is used for the JupyterLab panel if it is there.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=
FRONT_END := $(shell find labextension/src labextension/style labextension/schema -type f 2>/dev/null) \
	$(wildcard labextension/package.json labextension/package-lock.json labextension/tsconfig.json \
	labextension/copy-terminal.mjs labext_build.py)

.PHONY: run hub test soak lint clean

run: $(VENV)/.installed-all
	@$(BIN)/bai up $(ARGS)

# JupyterHub in JupyterLab's place: docs/jupyterhub.md.
hub: $(VENV)/.installed-all $(VENV)/.installed-proxy
	@PATH="$(CURDIR)/$(VENV)/proxy/node_modules/.bin:$$PATH" \
		$(BIN)/bai up --hub examples/jupyterhub/jupyterhub_config.py $(ARGS)

test: $(VENV)/.installed-test
	@$(BIN)/python -m pytest -n 2 $(ARGS)

soak: $(VENV)/.installed-test
	@$(BIN)/python -m pytest -m soak --timeout=3600 $(ARGS)

lint: $(VENV)/.installed-test
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

# The test extra holds everything that `all` does, so an environment made for tests runs too.
$(VENV)/.installed-all: pyproject.toml $(FRONT_END)
	@$(MAKE) --no-print-directory install EXTRA=$(if $(wildcard $(VENV)/.installed-test),test,all)

$(VENV)/.installed-test: pyproject.toml $(FRONT_END)
	@$(MAKE) --no-print-directory install EXTRA=test

$(VENV)/.installed-proxy: $(VENV)/.installed-all
	@command -v npm >/dev/null || { echo "JupyterHub's proxy needs node and npm. On Debian: apt-get install npm"; exit 1; }
	@echo "Installing configurable-http-proxy into $(VENV)/proxy …"
	@npm install --silent --no-audit --no-fund --prefix $(VENV)/proxy configurable-http-proxy@5.3.0
	@touch $@

.PHONY: install
install:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed; $(PYTHON) is older. Name another: make PYTHON=python3.12 …"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' || \
		{ echo "Python cannot make virtual environments here. On Debian: apt-get install python3-venv"; exit 1; }
	@command -v node >/dev/null && command -v npm >/dev/null || \
		echo "No node and npm here: JupyterLab will run without the Backend.AI panel. Install node 20.19+ and run this again."
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing bai_jupyter[$(EXTRA)] into $(VENV) …"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[$(EXTRA)]'
	@touch $(VENV)/.installed-all
	@if [ "$(EXTRA)" = test ]; then touch $(VENV)/.installed-test; fi

clean:
	rm -rf $(VENV) build dist labextension/node_modules labextension/lib bai_jupyter/extension/labextension
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
