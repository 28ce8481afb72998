# Two commands: `make` builds .venv and runs the main job, `make test` passes the tests.
# Needs Python 3.11 or 3.12, make and a C++ compiler; everything else is installed into .venv from requirements.lock.
SHELL := /bin/bash
.ONESHELL:
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/installed
SUPPORTED := import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))
PYTHON ?= $(shell for p in python3.11 python3.12 python3 python; do $$p -c '$(SUPPORTED)' 2>/dev/null && echo $$p && break; done)
# Built here, against the installed torch and numpy: their published wheels fit neither (or do not exist).
FROM_SOURCE := onedl-mmcv fairseq-fixed

export MMCV_WITH_OPS := 1
export MAX_JOBS ?= $(shell nproc 2>/dev/null || echo 2)
# CUDA operators are built where a GPU and nvcc are present, or with `make FORCE_CUDA=1` (a login node without a GPU).
NVCC := $(shell command -v nvcc)
HAS_GPU := $(shell nvidia-smi -L >/dev/null 2>&1 && echo 1)
ifneq ($(and $(NVCC),$(or $(FORCE_CUDA),$(HAS_GPU))),)
export FORCE_CUDA := 1
export CUDA_HOME ?= $(patsubst %/bin/nvcc,%,$(realpath $(NVCC)))
# Some toolkits lack cusparse.h and friends; the headers that torch's own CUDA packages bring fill the gap.
export CPATH := $(CPATH):$(abspath $(VENV))/lib/python3/site-packages/nvidia/cu13/include
BUILD_KEY := --config-settings-package onedl-mmcv:operators=cuda
endif

.PHONY: run test env lock cluster test-slurm clean

run: env
	$(BIN)/python -m plugins.runner.doctor
	$(BIN)/snakemake --cores all $(ARGS)

# Files of tests side by side, one to a processor; one thread each, or they would fight for the processors.
test: export OMP_NUM_THREADS := 1
test: env
	$(BIN)/python -m pytest -n logical --maxprocesses 8 --dist loadfile --no-loadscope-reorder $(ARGS)

env: $(STAMP)

$(STAMP): requirements.lock pyproject.toml
	@if [ -z "$(PYTHON)" ]; then
	  echo "error: no Python 3.11 or 3.12 found; install one, or say which: make PYTHON=/path/to/python3.11" >&2; exit 1
	fi
	$(PYTHON) -m plugins.runner.doctor --before-install
	$(PYTHON) -m venv $(VENV)
	ln -sfn "$$(basename $(VENV)/lib/python3.*[0-9])" $(VENV)/lib/python3
	sed -n '/^uv==/,/[^\\]$$/p' requirements.lock > $(VENV)/uv.lock.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r $(VENV)/uv.lock.txt
	printf '%s\n' $(FROM_SOURCE) > $(VENV)/from_source.txt
	install="$(BIN)/uv pip install --python $(BIN)/python --quiet --compile-bytecode --no-deps --require-hashes -r requirements.lock"
	echo "installing the pinned packages"
	$$install --excludes $(VENV)/from_source.txt
	echo "building mmcv and fairseq from source (10 to 15 minutes on two cores, seconds when cached)"
	$$install $(FROM_SOURCE:%=--no-build-isolation-package %) $(FROM_SOURCE:%=--no-binary %) $(BUILD_KEY)
	$(BIN)/uv pip install --python $(BIN)/python --quiet --no-deps --no-build-isolation --editable .
	$(BIN)/python -m plugins.runner.doctor --deep
	touch $@

# Pins every dependency of pyproject.toml again; commit the result.
lock:
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
	  --upgrade pyproject.toml --output-file requirements.lock
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
	  --constraint requirements.lock profiles/slurm/requirements.in --output-file profiles/slurm/requirements.lock

# snakemake's executor for SLURM, beside what `make env` installs.
cluster: env
	$(BIN)/uv pip install --python $(BIN)/python --quiet --no-deps --require-hashes -r profiles/slurm/requirements.lock

# The DAG on a SLURM cluster of this machine; needs Debian's packages slurm-wlm and munge.
test-slurm: cluster
	CONVATTN_NEEDS_SLURM=1 OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 0 $(ARGS) tests/slurm

clean:
	rm -rf $(VENV)
