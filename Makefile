# make repro: everything, from raw data to a registered encoder.  make test: the tests.  Both make .venv first.
# make faults: kills at random moments and damaged files.  FAULTS="--only mutations --rounds 0.1 --seed 7": a part of it.
# make bench: training speed beside the peers', which it installs as well.
PORT ?= 5000
BIN := .venv/bin
INSTALLED := .venv/.installed
export PATH := $(CURDIR)/$(BIN):$(PATH)
export DVC_NO_ANALYTICS := 1
unexport VIRTUAL_ENV PYTHONPATH PYTHONHOME

# The first of these that fits makes .venv. pyenv's shims of versions that are not installed, and a Debian Python without
# python3-venv, are there but fail.
PYTHONS := $(PYTHON) python3.11 python3.12 python3.13 python3
FITS := import ensurepip, sys, venv; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))
NEEDED := Hourglass needs Python 3.11, 3.12 or 3.13 with venv. On Debian and Ubuntu: apt install python3-venv git npm. \
Elsewhere: make PYTHON=/path/to/python3

.PHONY: install repro test faults bench lint ui clean

install: $(INSTALLED)

$(INSTALLED): pyproject.toml constraints.txt
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || { \
	  for python in $(PYTHONS); do \
	    if $$python -c '$(FITS)' 2>/dev/null; then exec $$python -m venv --clear .venv; fi; \
	  done; \
	  echo '$(NEEDED)' >&2; exit 1; \
	}
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[train,dev]'
	@touch $@

repro: $(INSTALLED)
	@python -m pipelines.settings.check
	dvc repro
	@python -m pipelines.register.next_steps

# A worker more than CPUs; TESTS=tests/serving runs a part.
test: $(INSTALLED)
	python -m pytest -n auto --dist loadfile --no-loadscope-reorder $(TESTS)

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
