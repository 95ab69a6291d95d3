# make repro: everything, from raw data to a registered encoder.  make test: the tests.  Both make .venv first.
# make faults: kills at random moments and damaged files.  FAULTS="--only mutations --rounds 0.1 --seed 7": a part of it.
# make bench: training speed beside the peers', which it installs as well.
PYTHON ?= python3.11
PORT ?= 5000
BIN := .venv/bin
INSTALLED := .venv/.installed
export PATH := $(CURDIR)/$(BIN):$(PATH)
export DVC_NO_ANALYTICS := 1
unexport VIRTUAL_ENV PYTHONPATH PYTHONHOME

.PHONY: install repro test faults bench lint ui clean

install: $(INSTALLED)

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[train,dev]'
	@touch $@

repro: $(INSTALLED)
	dvc repro
	@python -m pipelines.whereabouts

test: $(INSTALLED)
	python -m pytest

faults: $(INSTALLED)
	python -m tests.faults $(FAULTS)

bench: $(INSTALLED)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[train,dev,bench]'
	@test -f data/mnist/schema.json || dvc repro prepare@mnist
	python -m benchmarks.training

lint: $(INSTALLED)
	ruff check .
	ruff format --check .
	mypy
	lint-imports --no-cache

ui: $(INSTALLED)
	@case "$$MLFLOW_TRACKING_URI" in http*) echo "the UI is at $$MLFLOW_TRACKING_URI"; exit 1;; esac
	mlflow ui --backend-store-uri $${MLFLOW_TRACKING_URI:-sqlite:///mlflow.db} --host 127.0.0.1 --port $(PORT)

clean:
	rm -rf .venv .hourglass .mypy_cache .ruff_cache .hypothesis *.egg-info
