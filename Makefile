# Each target does its own set-up in .venv; nothing else needs to be installed first.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test lab docs install browser runtime lint notebooks colab gallery page slides handouts benchmark clean

demo: .venv/.installed-demo
	$(BIN)/ijepa-viz demo --out out/demo

lab: .venv/.installed-lab
	$(BIN)/ijepa-viz lab

test: install browser runtime lint
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: .venv/.installed-docs
	$(BIN)/python tools/build_docs.py

notebooks: install
	$(BIN)/python tools/build_notebooks.py

# make colab REPOSITORY=https://github.com/you/ijepa_viz: notebooks that install the project from there.
colab: install
	@test -n "$(REPOSITORY)" || { echo "Say where Colab finds the project: make colab REPOSITORY=https://..."; exit 2; }
	$(BIN)/python tools/build_notebooks.py --colab "$(REPOSITORY)" out/colab

gallery: install
	$(BIN)/python tools/build_gallery.py out/gallery

# The live page: the networks as ONNX, onnxruntime-web from the npm registry (fetched once), and the page itself; then
# the same as one file. Needs Node.js for npm.
page: .venv/.installed-page
	rm -rf out/page out/page.html
	$(BIN)/ijepa-viz export menagerie-tiny --onnx out/page/models --weights mixed
	$(BIN)/python -m ijepa_viz.page.runtime_files out/page/ort
	$(BIN)/ijepa-viz page --out out/page --single-file out/page.html --films film-tiny

# For a lesson: slides of every notebook, and a page of A4 to print. The slides need what the documentation executes.
slides: .venv/.installed-docs
	$(BIN)/python tools/build_slides.py

handouts: install browser
	$(BIN)/python tools/build_handouts.py

benchmark: install
	$(BIN)/python tools/benchmark.py

install: .venv/.installed

# One stamp for each set of extras: a demo needs neither JupyterLab nor the test tools.
.venv/.installed-demo: EXTRAS :=
.venv/.installed-lab: EXTRAS := [lab]
.venv/.installed-docs: EXTRAS := [docs,lab]
.venv/.installed-page: EXTRAS := [lab,page]
.venv/.installed: EXTRAS := [lab,test]
.venv/.installed: CONTAINED := .venv/.installed-demo .venv/.installed-lab

.venv/.installed .venv/.installed-demo .venv/.installed-lab .venv/.installed-docs .venv/.installed-page: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Python 3.11 or newer is needed: make PYTHON=python3.11")'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --no-compile --disable-pip-version-check --constraint constraints.txt --editable '.$(EXTRAS)'
	@# Python keeps what it compiled at the first import. Where it is told not to, every process would take 10 s longer.
	@# Some packages hold templates, which are no Python and do not compile.
	@if [ -n "$$PYTHONDONTWRITEBYTECODE" ]; then $(BIN)/python -m compileall -qq -j 0 -x '/tests?/' .venv/lib || true; fi
	touch $@ $(CONTAINED)

# Browser tests use an installed Chrome or Chromium; as root on Debian one is installed.
browser:
	@if ! { command -v chromium || command -v chromium-browser || command -v google-chrome; } >/dev/null; then \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium fonts-dejavu-core >/dev/null; \
	  else echo "No Chrome or Chromium found: the browser tests will be skipped."; fi; fi

# Tests of the live page's engine use onnxruntime-web, which npm fetches once.
runtime: install
	@if $(BIN)/python -c 'import json, sys; from ijepa_viz.page.runtime_files import VERSION; sys.exit(json.load(open("out/page/ort/files.json", encoding="utf-8"))["version"] != VERSION)' 2>/dev/null; then :; \
	  elif command -v npm >/dev/null; then rm -rf out/page/ort; $(BIN)/python -m ijepa_viz.page.runtime_files out/page/ort || \
	  echo "onnxruntime-web is not to be had: the tests of the live page's engine will be skipped."; \
	  else echo "No npm found: the tests of the live page's engine will be skipped."; fi

clean:
	rm -rf .venv out runs
