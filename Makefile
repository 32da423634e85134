# Two commands from a fresh checkout: `make demo` and `make test`. Everything lands in .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: install demo test fast soak lint format niivue clean

# What the pages of `attnseg view` are drawn with; committed, so that nobody needs npm.
NIIVUE := 0.69.0
NIIVUE_SHA256 := 47b896b77ec4a5be3ef1949c33ad393b6f45629921f326c279000bcf51bdb4af
NIIVUE_FOLDER := attnseg/visualization/niivue

install: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "attnseg needs Python 3.11 or newer; make PYTHON=/path/to/python3.11"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

demo: install
	$(BIN)/attnseg demo -o demo --overwrite

test: install
	$(BIN)/pytest

# The part that a developer runs while working.
fast: install
	$(BIN)/pytest -m "not slow"

# The full counts: `make test` runs a seeded twentieth of them.
soak: install
	$(BIN)/pytest --soak

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/hadolint docker/Dockerfile

format: install
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Fetches Niivue anew. The npm package holds no licence texts: LICENSES.txt is kept by hand.
niivue:
	mkdir -p build/niivue
	npm pack --silent --pack-destination build/niivue @niivue/niivue@$(NIIVUE)
	tar -xzf build/niivue/niivue-niivue-$(NIIVUE).tgz -C build/niivue package/dist/niivue.umd.js
	echo "$(NIIVUE_SHA256)  build/niivue/package/dist/niivue.umd.js" | sha256sum --check --quiet
	cp build/niivue/package/dist/niivue.umd.js $(NIIVUE_FOLDER)/niivue.umd.js

clean:
	rm -rf $(VENV) demo runs predictions
