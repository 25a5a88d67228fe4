# Two commands on a fresh machine: `make demo` and `make test`. Both need only Python 3.11 or newer, and make.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin

.PHONY: demo test check browser clean

demo: $(VENV)/.installed
	$(BIN)/s2l demo

test: $(VENV)/.installed-dev check browser
	$(BIN)/pytest --numprocesses auto --maxprocesses 4 --dist loadfile

# The page's tests need a Chromium. Root on Debian, as in a container, gets one; elsewhere they are skipped, and say so.
browser:
	@command -v chromium > /dev/null || command -v chromium-browser > /dev/null || test "$$(id -u)" != 0 || \
	    timeout 300 sh -c 'apt-get -qq update && apt-get -qq install -y --no-install-recommends chromium' \
	    > /dev/null 2>&1 || echo "no Chromium: the page is not tried in a browser"

check: $(VENV)/.installed-dev
	$(BIN)/ruff check src tests benchmarks
	$(BIN)/ruff format --check src tests benchmarks
	$(BIN)/mypy

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt torch
	$(BIN)/pip install --quiet --constraint constraints.txt --editable .
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) demo-run build dist *.egg-info src/*.egg-info
