# DINO lab: `make lab` trains and shows, `make test` checks everything.  `make` alone prints this list.

PYTHON ?= python3
VENV   ?= .venv
BIN     = $(VENV)/bin
RUNS   ?= runs
PORT   ?= 7860
TESTERS ?= 3

.PHONY: help lab notebooks test setup bench gallery lint fast
.DEFAULT_GOAL := help

help:
	@echo "make lab      set up, start a real training run and the lab at http://127.0.0.1:$(PORT)"
	@echo "make test     set up and run the whole suite: lint, types, import rules, tests, browser"
	@echo "make notebooks  set up, open the course in JupyterLab, on a copy that is yours to write in"
	@echo "make fast     the tests that take seconds"
	@echo "make bench    measure speed and telemetry; writes benchmarks/results/*.json"
	@echo "make gallery  train the recorded runs that ship with the lab, anew"
	@echo "make setup    only the environment, in $(VENV)"

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	@echo "installing torch and the rest into $(VENV): some minutes the first time, seconds afterwards"
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch torchvision
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[lab,hf,mirrors,test]"
	@touch $@

setup: $(VENV)/.installed

lab: setup
	$(BIN)/dino-lab lab --runs $(RUNS) --port $(PORT)

notebooks: setup
	$(BIN)/python -m notebooks open --folder $(RUNS)/course

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: lint
	$(BIN)/python -m pytest --numprocesses $(TESTERS) --dist loadfile --no-loadscope-reorder

fast: setup
	$(BIN)/python -m pytest -m "not slow and not browser"

bench: setup
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[bench]"
	$(BIN)/python -m benchmarks

gallery: setup
	$(BIN)/dino-lab train gallery --out $(RUNS)/gallery
	rm -rf lab/gallery/dino_shapes
	$(BIN)/dino-lab record $(RUNS)/gallery lab/gallery/dino_shapes --keep 9
	$(BIN)/dino-lab train gallery_dinov3 --out $(RUNS)/gallery_dinov3
	rm -rf lab/gallery/dinov3_shapes
	$(BIN)/dino-lab record $(RUNS)/gallery_dinov3 lab/gallery/dinov3_shapes --keep 6
