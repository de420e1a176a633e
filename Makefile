PYTHON ?= python3
VENV := .venv
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

VERSION = $(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)

# mmcv-lite asks for opencv-python, whose cv2 needs libGL. The last step puts the headless build of
# the same version over its files, so that cv2 also imports on a machine without a display.
$(STAMP): requirements.txt
	$(if $(filter 3.10 3.11 3.12,$(VERSION)),,$(error $(PYTHON) must be Python 3.10, 3.11 or 3.12 but \
	is $(or $(VERSION),missing): install one of them and name it, as in `make test PYTHON=python3.12`))
	test -x $(VENV)/bin/pip || $(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install -r requirements.txt
	$(VENV)/bin/pip install --no-deps --force-reinstall opencv-python-headless==4.11.0.86
	touch $@
