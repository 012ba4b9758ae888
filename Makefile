# SPDX-License-Identifier: Apache-2.0
# Everything runs from .venv, which `make setup` makes; nothing needs to be sourced.
SHELL := /bin/bash
BIN := .venv/bin
CHECKPOINT ?= g1_pick
MINUTES ?= 2
SIGNALS ?= 12
WORKERS ?= 2
# Logs of nodes stay here, also for users without a home folder.
export ROS_LOG_DIR ?= $(CURDIR)/out/log

.PHONY: help setup demo test fuzz lint docs bench soak study clean

help:
	@echo "make setup   .venv with ROS 2 (the sourced one, else wheels), dd_ros_msgs and dd_ros"
	@echo "make demo    a simulated robot, its camera predicted live: images and report in out/demo"
	@echo "make test    all tests, in WORKERS=$(WORKERS) processes"
	@echo "make fuzz    those of random and damaged input once more, with thousands of each; minutes"
	@echo "make lint    ruff and mypy"
	@echo "make docs    the documentation as a site in out/site, which can be read without a network"
	@echo "make bench   latency of a checkpoint (CHECKPOINT=$(CHECKPOINT)) into out/bench.json"
	@echo "make soak    faults at random against the node for MINUTES=$(MINUTES), report in out/soak; then SIGNALS=$(SIGNALS)"
	@echo "make study   the method beside its rivals, from bags (BAGS=...) into out/study and docs/results.md; hours;"
	@echo "             WITH=config/study_gpu.yaml for a GPU"
	@echo "make clean   remove everything made by the above"

setup:
	@scripts/setup.sh

demo: setup
	$(BIN)/dd_ros demo --out out/demo

test: setup
	$(BIN)/python -m pytest -q -n $(WORKERS) --dist loadfile

fuzz: setup
	MUTANTS=1000 MESSAGES=10000 $(BIN)/python -m pytest -q -n $(WORKERS) --timeout 0 test/live/test_intake.py \
	  test/test_untrusted_checkpoints.py test/data/test_mutated_bags.py test/data/lerobot/test_mutated_sets.py

lint: setup
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

docs: setup
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict
	@echo "open out/site/index.html"

bench: setup
	@mkdir -p out
	$(BIN)/dd_ros bench --checkpoint $(CHECKPOINT) --json out/bench.json

soak: setup
	$(BIN)/python -m dd_ros.benchmark.soak --checkpoint $(or $(filter-out g1_pick,$(CHECKPOINT)),pusht) --minutes $(MINUTES) --out out/soak
	$(BIN)/python -m dd_ros.benchmark.ends --checkpoint $(or $(filter-out g1_pick,$(CHECKPOINT)),pusht) --signals $(SIGNALS)

study: setup
	$(if $(BAGS),,$(error make study BAGS=<folder of the bags that config/study.yaml names>))
	$(BIN)/python -m dd_ros_training.experiments.study config/study.yaml --bags $(BAGS) --out out/study --report docs/results.md $(addprefix --with ,$(WITH))

clean:
	rm -rf .venv build dist install log out *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
