#!/usr/bin/env bash
# Lint, format, types, tests: what CI runs. Arguments go to pytest, such as --slow or -k mixing.
source "$(dirname "$0")/venv.sh" test
.venv/bin/ruff check .
.venv/bin/ruff format --check .
.venv/bin/mypy
.venv/bin/python -m pytest -n "${DLAX_TEST_WORKERS:-auto}" "$@"
