PYTHON ?= python3
REQUIREMENTS ?= requirements.txt
# An environment for each set of versions: .venv, and .venv-onedl for requirements-onedl.txt.
VENV := .venv$(patsubst requirements%.txt,%,$(notdir $(REQUIREMENTS)))
# Touched only after the whole installation has succeeded: a half-finished one is taken up again.
STAMP := $(VENV)/.installed

.PHONY: demo test lint clean

demo: $(STAMP)
	$(VENV)/bin/python tools/demo.py

test: lint
	$(VENV)/bin/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile

lint: $(STAMP)
	$(VENV)/bin/ruff check

clean:
	rm -rf $(VENV) .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# What the requirements say of themselves, in comments that begin with these words.
said = $(shell sed -n 's/^# $1: //p' $(REQUIREMENTS))
VERSION = $(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)

# PyPI has torch for Linux on x86_64 with CUDA alone; without NVIDIA's libraries, three quarters of
# the download, `import torch` fails ("libcudnn.so.9: cannot open shared object file").
# A requirements file cannot except single packages from having their dependencies installed.
$(STAMP): $(REQUIREMENTS)
	$(if $(filter $(VERSION),$(call said,Python)),,$(error $(REQUIREMENTS) needs one of Python \
	$(call said,Python) but $(PYTHON) is $(or $(VERSION),missing): install one of them and name it, \
	as in `make test PYTHON=python3.12`))
	@echo "Installing into $(VENV)/: $(call said,Download)."
	@test -x $(VENV)/bin/pip || $(PYTHON) -m venv $(VENV)
	@$(VENV)/bin/pip install -qq --disable-pip-version-check -r $(REQUIREMENTS)
	@$(VENV)/bin/pip install -qq --disable-pip-version-check --no-deps --force-reinstall \
	$(call said,Without dependencies)
	@touch $@
