# Set-up and the commands of a working day. `make help` lists them.
# Python 3.11 and git are all that must be there; uv is fetched into .uv when it is not installed.

PYTHON ?= python3.11
SET ?= $(shell command -v nvidia-smi >/dev/null 2>&1 && nvidia-smi -L 2>/dev/null | grep -q GPU && echo gpu || echo cpu)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed-$(SET)
ARGS ?=

# uv reads UV_FIND_LINKS, not pip's variable: a folder of wheels named for pip serves both.
export UV_FIND_LINKS ?= $(PIP_FIND_LINKS)
unexport PYTHONDONTWRITEBYTECODE
# A folder of wheels provides torch's CPU build; without one it comes from PyTorch's own CPU index.
TORCH := $(if $(UV_FIND_LINKS),,$(if $(filter cpu,$(SET)),--torch-backend=cpu))

.PHONY: help env improve test unit lint format unsloth doctor requirements report clean
.DEFAULT_GOAL := help

help:  ## list these commands
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*##/\t/' | awk -F'\t' '{printf "  make %-14s %s\n", $$1, $$2}'

env: $(STAMP)  ## make .venv with the pinned set of this machine (SET=cpu or SET=gpu)

improve: $(STAMP)  ## run the whole loop: mine, train, serve, roll out, grade, retrain, report (ARGS="seed=1 --repo PATH")
	$(BIN)/forge improve configs/quickstart.yaml $(ARGS)

test: $(STAMP)  ## run every test that this machine can (ARGS="tests/unit -k ledger")
	$(BIN)/python -m pytest $(ARGS)

unit: $(STAMP)  ## run the tests that need neither Ray nor containers
	$(BIN)/python -m pytest tests/unit tests/contract $(ARGS)

lint: $(STAMP)  ## check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(STAMP)  ## put the code in shape
	$(BIN)/ruff check --fix-only --quiet .
	$(BIN)/ruff format --quiet .

unsloth: .unsloth/.installed  ## fetch Unsloth beside the CPU set, for the tests that hold our backend against it

doctor: $(STAMP)  ## say what this machine has and lacks, with the cure
	$(BIN)/forge doctor configs/quickstart.yaml

clean:  ## remove the environment and caches; workspaces stay
	rm -rf $(VENV) .uv .unsloth .pytest_cache .mypy_cache .ruff_cache .hypothesis

# Unsloth needs a card to train, but its own code is what the tier tests/unsloth holds our backend against: the two packages, without
# what they need beside torch, in a folder of their own.
.unsloth/.installed: requirements/gpu.txt .uv/bin/uv
	rm -rf .unsloth
	awk '/^[^ ]/ { ours = /^unsloth/ } ours' requirements/gpu.txt > .uv/unsloth.txt
	.uv/bin/uv pip install --quiet --no-deps --require-hashes --python $(PYTHON) --target .unsloth -r .uv/unsloth.txt
	rm -rf .unsloth/studio
	touch $@

requirements: .uv/bin/uv  ## resolve the pinned, hashed sets anew from requirements/*.in
	for set in cpu gpu dev; do \
	  .uv/bin/uv pip compile --quiet --generate-hashes --no-emit-index-url --python-version 3.11 \
	    --python-platform x86_64-manylinux_2_28 --overrides requirements/overrides.txt \
	    --custom-compile-command "make requirements" \
	    $$([ $$set = cpu ] && [ -z "$(UV_FIND_LINKS)" ] && echo --torch-backend=cpu) \
	    requirements/$$set.in -o requirements/$$set.txt || exit 1; \
	done

# A uv that is installed is linked, else one is installed into an environment of its own.
.uv/bin/uv:
	@mkdir -p .uv/bin
	@if command -v uv >/dev/null 2>&1; then ln -sf "$$(command -v uv)" $@; \
	else $(PYTHON) -m venv .uv && .uv/bin/python -m pip install --quiet uv==0.13.9; fi

# Bubblewrap makes the sandbox strong enough for strange code; it is installed where that is allowed.
define BUBBLEWRAP
command -v bwrap >/dev/null 2>&1 || { \
  as=$$([ "$$(id -u)" = 0 ] || echo "sudo -n"); \
  $$as apt-get install -y -qq bubblewrap || { $$as apt-get update -qq && $$as apt-get install -y -qq bubblewrap; }; \
} >/dev/null 2>&1 || echo "bubblewrap could not be installed: without it or Docker only the practice repositories can be used (make doctor)"
endef

# Byte code is written once for everything: without it every start of vLLM pays 12 CPU-seconds more.
$(STAMP): requirements/$(SET).txt requirements/dev.txt pyproject.toml .uv/bin/uv
	[ -x $(BIN)/python ] || .uv/bin/uv venv --quiet --python $(PYTHON) $(VENV)
	.uv/bin/uv pip install --python $(BIN)/python $(TORCH) --overrides requirements/overrides.txt -r requirements/$(SET).txt -r requirements/dev.txt
	.uv/bin/uv pip install --python $(BIN)/python --quiet --no-deps --no-build-isolation --editable .
	@$(BUBBLEWRAP)
	$(BIN)/python -m compileall -qq -j 2 $(VENV)/lib/python3.11/site-packages || true
	rm -f $(VENV)/.installed-*
	touch $@
