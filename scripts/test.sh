#!/usr/bin/env bash
# Lint, format, types, tests: what CI runs. Arguments go to pytest, such as --slow or -k mixing.
source "$(dirname "$0")/venv.sh" test
.venv/bin/ruff check .
.venv/bin/ruff format --check .
.venv/bin/mypy
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1} # the workers share the cores; LAPACK's threads would fight over them
.venv/bin/python -m pytest -n "${DLAX_TEST_WORKERS:-auto}" --dist loadgroup "$@"
