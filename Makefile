# make demo    set up, build the sample dataset, audit it, train on it, recommend and explain
# make test    set up, lint, run the tests
# make bench   time every part beside what one would write today (15 minutes); DUMP=FILE, else the
#              sample is copied; SIZES=200000,4000000,20000000 adds the largest build

PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test lint bench setup clean

setup: .venv/ready

.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Python 3.11 or newer is needed: make PYTHON=/path/to/python3.11 ..."; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[train,dev]'
	touch $@

demo: setup
	PODPREP_DATA=demo $(BIN)/podprep build --dataset sample --out demo/shards --force
	$(BIN)/podprep show demo/shards -n 2
	$(BIN)/podprep stats demo/shards --html demo/stats.html > demo/stats.txt
	$(BIN)/podprep audit demo/shards
	$(BIN)/podprep query demo/shards --name arbitrary-tests --rows 5
	rm -rf demo/run
	$(BIN)/podtrain fit demo/shards --out demo/run --config bench/sample.toml
	$(BIN)/podtrain evaluate demo/run
	$(BIN)/podtrain recommend demo/run --user 7 -n 5 --why
	$(BIN)/podtrain report demo/run
	@echo "demo/stats.html and demo/run/report.html show it all in pictures"

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: lint
	$(BIN)/python -m pytest --numprocesses auto --dist loadfile

bench: setup
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[bench]'
	$(BIN)/python -m bench --json bench.json --picture bench.svg $(if $(DUMP),--dump $(DUMP)) \
		$(if $(SIZES),--sizes $(SIZES))

clean:
	rm -rf .venv demo
