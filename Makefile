# SPDX-License-Identifier: Apache-2.0
# Everything runs from .venv, which `make setup` makes; nothing needs to be sourced.
SHELL := /bin/bash
BIN := .venv/bin
CHECKPOINT ?= g1_pick

.PHONY: setup demo test lint bench clean

setup:
	@scripts/setup.sh

demo: setup
	$(BIN)/dd_ros demo --out out/demo

test: setup
	$(BIN)/python -m pytest -q

lint: setup
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

bench: setup
	$(BIN)/dd_ros bench --checkpoint $(CHECKPOINT) --json out/bench.json

clean:
	rm -rf .venv build install log out *.egg-info
