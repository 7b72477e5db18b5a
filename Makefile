# Every target is one command that can be typed as well. `make check` is what CI runs.
.PHONY: check test lint types layers slow real demo docs bench build constraints

check:
	.ci/run

test:
	uv run pytest

lint:
	uv run ruff format --check .
	uv run ruff check .

types:
	uv run mypy --strict

layers:
	uv run lint-imports

slow:
	uv run pytest -m "slow and not real and not gpu"

# Reads the real images in the folder MEDIMG_REAL_DATA.
MEDIMG_REAL_DATA ?= $(abspath ../shared/data)
real:
	MEDIMG_REAL_DATA="$(MEDIMG_REAL_DATA)" uv run pytest -m "real and not gpu"

demo:
	uv run medimg fit --config configs/brats.yaml --config configs/overlays/demo.yaml

# The documentation site, in site/.
docs:
	uv run --group docs mkdocs build --strict

# One after the other: two at once would disturb each other's times.
# Two scripts are experiments of an hour and more, run by themselves.
bench:
	set -e; for script in $(filter-out benchmarks/ssl_busi.py benchmarks/fusion.py,$(wildcard benchmarks/*.py)); do echo "== $$script"; uv run --group bench python $$script; done

build:
	uv build

# Write down the versions of this environment, after its tests have passed.
constraints:
	{ head -n 1 constraints.txt; uv pip freeze | grep -viE '^(nvidia|cuda|-e|medimg)|file:'; } > constraints.new
	mv constraints.new constraints.txt
