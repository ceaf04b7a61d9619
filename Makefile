# hemotriage. `make help` lists what there is.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
PEERS := orthanc orthanc-dicomweb dcmtk chromium prometheus curl jq
# Where somebody else's package has it, a second one would undo all of the installation.
PEERS += $(if $(shell command -v kubectl),,kubernetes-client)
# Whoever breaks or measures a service wants the machine alone.
ALONE := tests/faults tests/soak tests/bench
VENV := .venv
BIN := $(VENV)/bin
MINUTES ?= 60
STAMP := $(VENV)/installed

.DEFAULT_GOAL := help
.PHONY: help setup run test exhaustive e2e-trainer peers lint format bench faults soak lock audit fuzz clean

help: ## List the targets
	@grep -E '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

setup: $(STAMP) ## Make .venv and install everything into it

$(STAMP): requirements/dev.txt pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --no-deps --require-hashes -r requirements/dev.txt
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $(STAMP)

run: setup ## Start the whole service here, triage the bundled image, stay up until Ctrl-C
	@exec $(BIN)/hemotriage up

test: setup ## Run the tests, in two processes with real servers each
	$(BIN)/python -m pytest -m "not exhaustive" --numprocesses 2 --dist loadfile

exhaustive: setup ## Run the tests that `make test` leaves out: every fault, every format
	$(BIN)/python -m pytest -m exhaustive --numprocesses 2 --dist loadfile $(ALONE:%=--ignore=%)
	$(BIN)/python -m pytest -m exhaustive $(ALONE)

e2e-trainer: setup ## From an empty registry: train, judge, promote, serve and roll back, over HTTP
	$(BIN)/python -m pytest tests/e2e/test_retraining.py

peers: ## Install, as root, what some tests speak to: Orthanc, dcmtk, Chromium, Prometheus, kubectl
	apt-get update -qq
	DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $(PEERS)

lint: setup ## Check style, types, the compose file and the Dockerfiles
	$(BIN)/ruff check --no-cache .
	$(BIN)/ruff format --check --no-cache .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/unit/containers

format: setup ## Rewrite the code in the project's style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: setup ## Measure speed against a bound of the same run, and beside LitServe
	$(BIN)/python -m pip install --quiet --no-deps --require-hashes -r requirements/bench.txt
	$(BIN)/python -m tests.bench --json var/bench.json

faults: setup ## Break everything for real, and count what is lost
	$(BIN)/python -m tests.faults

soak: setup ## Load for MINUTES=60, with restarts, a promotion and a training: is all kept?
	$(BIN)/python -m tests.soak --minutes $(MINUTES) --json var/soak.json --markdown var/soak.md

lock: setup ## Lock the requirements by hash, from requirements/*.in
	$(BIN)/python requirements/lock.py

audit: setup ## Ask for known vulnerabilities of what is locked, and look at its licences
	$(BIN)/python requirements/audit.py

fuzz: setup ## Feed parsers of outside bytes what mutates from valid files, SECONDS each; crashes are kept in var/fuzz
	nice -n 10 $(BIN)/python -m tests.fuzz --seconds $(or $(SECONDS),60)

clean: ## Remove what was built, and the local service's data
	rm -rf $(VENV) var build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
