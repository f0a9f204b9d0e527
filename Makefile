# The task vocabulary: people, hooks and CI all use these names. Each task is one command.
.DEFAULT_GOAL := help
SHELL := /bin/sh
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
RELEASES := $(VENV)/.release
SERVES := $(VENV)/.serving
TRIES := $(VENV)/.trying
TRAINED := $(VENV)/.training
SCANNER := $(VENV)/scan/.ready
EXTRAS := engine/src/sluice/extras

# Many images set it; then each of some hundred processes compiles mlflow and all else anew.
unexport PYTHONDONTWRITEBYTECODE

# No telemetry, no update checks, no look-ups of prices.
export DVC_NO_ANALYTICS := 1
export MLFLOW_DISABLE_TELEMETRY := true
export MLFLOW_MODEL_CATALOG_URI :=

# Targets of your own.
-include project.mk

.PHONY: help setup try try-setup release eval sync serve test test-engine test-unit test-contract test-workflows test-drill test-parts test-fork test-extras e2e-cluster soak audit check format clean

help:  ## show the tasks
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 16

# An installed project has engine/ from the wheel that config/engine.lock pins, and not in git. It comes first, whatever
# `make` is asked for; what is there stays until all of the new one is. .sluice/engine.lock: the lock of what is there.
ifneq ($(wildcard config/engine.lock),)
include .sluice/engine.mk
.sluice/engine.mk: FORCE
	@if cmp -s config/engine.lock $(@D)/engine.lock && test -f engine/FILES; then test -e $@ || : > $@; exit; fi; \
	set -e; mkdir -p $(@D); draft=$$(mktemp -d $(@D)/engine-XXXXXX); trap 'rm -rf "$$draft"' EXIT; \
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV); \
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-compile --only-binary=:all: \
		--require-hashes --target "$$draft" -r config/engine.lock || { printf '%s\n  -> %s\n' >&2 \
		"error: config/engine.lock: the engine that it pins was not installed" \
		"check its address, pip's index and its sign-in; where bytes differ, ask who released them"; exit 1; }; \
	rm -rf engine; mv "$$draft/sluice_engine" engine; cp config/engine.lock $(@D); : > $@
FORCE:
endif
# For a step of a workflow that needs the engine and no environment.
.PHONY: engine
engine: ;

setup: $(VENV)/.$(or $(LEVEL),ready) $(if $(filter yes,$(TRAINING)),$(TRAINED))  ## install everything into .venv (other tasks do this by themselves; TRAINING=yes: torch, too)

# Each level brings what the ones above it have. A task names the least that it needs.
$(TRIES): engine/requirements/bootstrap.txt engine/requirements/try.txt engine/pyproject.toml pyproject.toml
	@$(PYTHON) engine/scripts/setup.py $(VENV) trying
	@touch $@

$(SERVES): engine/requirements/bootstrap.txt engine/requirements/serve.txt engine/pyproject.toml pyproject.toml
	@$(PYTHON) engine/scripts/setup.py $(VENV) serving
	@touch $@ $(TRIES)

$(RELEASES): engine/requirements/bootstrap.txt engine/requirements/release.txt $(wildcard $(EXTRAS)/*/requirements/mlflow.txt) engine/pyproject.toml pyproject.toml
	@$(PYTHON) engine/scripts/setup.py $(VENV) release
	@touch $@ $(SERVES) $(TRIES)

$(READY): engine/requirements/bootstrap.txt engine/requirements/dev.txt $(wildcard $(EXTRAS)/*/requirements/mlflow.txt) engine/pyproject.toml pyproject.toml
	@$(PYTHON) engine/scripts/setup.py $(VENV) development
	@touch $@ $(RELEASES) $(SERVES) $(TRIES)

$(TRAINED): $(wildcard $(EXTRAS)/*/requirements/t*.* $(EXTRAS)/guard/requirements/corpora.txt) | $(RELEASES)
	@$(PYTHON) engine/scripts/setup.py $(VENV) training
	@touch $@

try: export TRY_BEGAN := $(shell date +%s)
try: $(TRIES)  ## chat with the starter and edit its prompt on 127.0.0.1:8080, within a minute (PORT=… for another)
	@$(BIN)/sluice try $(if $(PORT),--port $(PORT))

try-setup: $(TRIES)  ## what `make try` needs, for a dev container that is prepared
	@$(BIN)/sluice models pull

release: $(RELEASES)  ## release the working tree: check, train, evaluate, rehearse, promote (REBUILD=yes: from nothing)
	@$(BIN)/sluice release make $(if $(filter yes,$(REBUILD)),--rebuild)

eval: $(RELEASES)  ## compare the working tree with origin/main: what got better, what broke (BASE=… for another)
	@$(BIN)/sluice eval --base $(or $(BASE),origin/main) $(if $(PUBLISH),--publish)

sync: $(RELEASES)  ## write the limits of config/gates.yaml into k8s/base/analysis-limits.yaml
	@$(BIN)/sluice gates sync

serve: $(SERVES)  ## serve the champion on 127.0.0.1:8080
	@$(BIN)/sluice serve

$(SCANNER): engine/requirements/scan.txt | $(READY)
	@$(BIN)/uv venv --quiet --clear --python $(BIN)/python $(VENV)/scan
	@$(BIN)/uv pip install --quiet --python $(VENV)/scan/bin/python --require-hashes -r engine/requirements/scan.txt
	@touch $(SCANNER)

test: $(READY) $(SCANNER)  ## the tests of what is yours, its contracts, and two small releases in a clone (minutes)
	@$(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder tests engine/tests/contract

test-engine: $(READY) $(TRAINED) $(SCANNER)  ## the engine's own tests, with whole releases in a clone (minutes; where engine/ has changed)
	@$(BIN)/pytest -n 4 --dist loadfile --no-loadscope-reorder --durations=30 --ignore=engine/tests/workflows --ignore=engine/tests/contract engine/tests

test-workflows: $(READY) $(TRAINED)  ## the workflows of .github/, run by act with GitHub played (minutes; engine/docs/reference/workflow-tests.md)
	@$(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder --durations=15 engine/tests/workflows

test-drill: $(READY) $(TRAINED)  ## the real proxy under load: rehearsals, bad canaries, a promotion, a killed replica (minutes; engine/docs/reference/canary-drill.md)
	@$(BIN)/pytest -n 2 --dist loadfile -m drill engine/tests/unit/rehearsal engine/tests/unit/loadtest

test-parts: $(READY) $(TRAINED)  ## the drills of optional parts: training in shards (tens of minutes)
	@$(BIN)/pytest -n 2 --dist loadfile -m drill engine/tests/unit/extras

test-fork: $(READY) $(TRAINED)  ## the rules of the house in a copy with names of its own, as `sluice init` leaves it (minutes)
	@$(BIN)/pytest -m fork engine/tests/unit/extras/upgrade

test-extras: $(READY)  ## each part switched off by config: commands, config and imports hold (seconds)
	@$(BIN)/pytest engine/tests/e2e/test_extras.py

test-unit: $(READY) $(TRAINED)  ## the fast tests: no model, no database, no network
	@$(BIN)/pytest -n 2 --dist loadfile -m "not real and not e2e" tests engine/tests

test-contract: $(READY)  ## the rules that hold for what is yours: overlays, rollout, gates, workflows (no model)
	@$(BIN)/pytest -m "not real and not e2e" engine/tests/contract

e2e-cluster: $(READY) $(TRAINED)  ## canaries that are promoted and aborted in the cluster of KUBECONFIG (engine/docs/reference/cluster.md)
	@$(BIN)/pytest -m cluster engine/tests/e2e/test_cluster.py

soak: $(READY)  ## three minutes of mixed traffic: files and memory of the service stay flat
	@$(BIN)/pytest -m soak engine/tests

audit: $(READY) $(SCANNER)  ## look up what the locks install in a database of vulnerabilities (network)
	@$(BIN)/python engine/scripts/audit_locks.py

# --all-files would leave out files that git does not know yet. With its usual limit xargs would divide them among runs.
FILES := git ls-files --cached --others --exclude-standard -z | xargs -0 -s 900000
check: $(READY)  ## lint, types, layers, schemas, secrets: what pre-commit runs, of new files too (BASE=… for what changed since)
	@$(if $(BASE),,$(FILES)) $(BIN)/pre-commit run $(if $(BASE),--from-ref $(BASE) --to-ref HEAD,--files)

format: $(READY)  ## format the code
	@$(BIN)/ruff format . && $(BIN)/ruff check --fix .

clean:  ## remove what was built; releases and caches of models stay
	@rm -rf build .mypy_cache .ruff_cache

# The tasks of the parts that are on: `sluice init --without` writes those that are off in one line.
OFF := $(shell sed -n 's/^without: *\[\([^]]*\)\].*/\1/p' config/project.yaml | tr ',' ' ')
include $(filter-out $(OFF:%=$(EXTRAS)/%/extra.mk),$(wildcard $(EXTRAS)/*/extra.mk))
