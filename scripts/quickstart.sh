#!/usr/bin/env bash
# Trains 32 nodes on handwritten digits over three graphs with two algorithms, draws pictures and a report.
# Needs Python 3.11+ and a package index; about two minutes on two cores, installation included.
source "$(dirname "$0")/venv.sh"
.venv/bin/dlax sweep configs/quickstart.yaml --overwrite "$@"
