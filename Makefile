# Two verbs do all the set-up: `make demo` and `make test`. `make` alone prints them all.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
BROKER ?= memory
EXAMPLE ?= tickets
STORE ?= sqlite
STYLE ?= stamp
RUNS ?= 10000
# Two files of tests at once, each process with servers of its own; one when you name the servers that all share.
WORKERS ?= $(if $(AMQP_URL)$(POSTGRES_URL),0,2)
READY := $(VENV)/.ready

# The tests start hundreds of processes: each would compile every module again where nobody keeps what was compiled.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
PROOF_CASES ?= 20000
.PHONY: proof help env servers demo test test-fast test-faults check bench bench-guard docs clean

help: ## these lines
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

env: $(READY) ## the environment in .venv

$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "error: Python 3.11 or newer is needed; say PYTHON=/path/to/python3.11"; exit 78; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable . --group dev
	touch $(READY)

servers: ## RabbitMQ and PostgreSQL, installed if they are missing
	@sh tests/install_servers.sh

demo: env ## the ticket workflow; EXAMPLE=orders another, BROKER=rabbitmq a private node, STORE=postgres a cluster, STYLE=front-controller another owner
	@if [ "$(BROKER)" = rabbitmq ] && [ -z "$$AMQP_URL" ]; then sh tests/install_servers.sh rabbitmq; fi
	@if [ "$(STORE)" = postgres ] && [ -z "$$POSTGRES_URL" ]; then sh tests/install_servers.sh postgres; fi
	@$(BIN)/stamp demo --example $(EXAMPLE) --broker $(BROKER) --store $(STORE) --style $(STYLE)

test: env servers ## every test, on memory, RabbitMQ, SQLite and PostgreSQL, two files at once (WORKERS=N)
	$(BIN)/python -m pytest --numprocesses $(WORKERS) --dist loadfile

test-fast: env ## what needs no server
	$(BIN)/python -m pytest -m 'not rabbitmq and not postgres'

test-faults: env servers ## every kill point, every fault, and RUNS=10000 runs under random kills
	RUNS=$(RUNS) $(BIN)/python -m pytest -s tests/faults/test_*.py tests/faults/full/[a-z]*.py

proof: env ## sagas against 20,000 random workflows, failures and orders of messages (PROOF_CASES=N)
	SAGA_CASES=$(PROOF_CASES) $(BIN)/python -m pytest -q tests/kernel/test_saga_proof.py tests/styles/test_proof.py --timeout 7200

check: env ## ruff, mypy, pyright, arrows, generated docs
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pyright
	$(BIN)/python -m docs.generate --check
	$(BIN)/python -m pytest -q tests/house

bench: env servers ## measure everything in about 21 minutes, and rewrite docs/benchmarks.md
	$(BIN)/python -m benchmarks targets

bench-guard: env ## has a hop become dearer than benchmarks/baseline.json?
	$(BIN)/python -m benchmarks guard

docs: env ## write the generated parts of docs/ again
	$(BIN)/python -m docs.generate

clean: ## remove what these verbs made
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis dist build
