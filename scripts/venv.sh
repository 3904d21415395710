# Sourced by the other scripts: makes .venv when it is missing and installs dlax with the extras named in $1.
# Needs Python 3.11 or newer and nothing else; PYTHON chooses another interpreter.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

extras=${1:-}
python=${PYTHON:-python3}
"$python" - <<'PY' || { echo "dlax needs Python 3.11 or newer; set PYTHON to one" >&2; exit 1; }
import sys
sys.exit(sys.version_info < (3, 11))
PY
if [ ! -x .venv/bin/python ]; then
  "$python" -m venv .venv
fi
# Install again only when the extras, the package's metadata or the pins have changed.
stamp=.venv/installed
want="${extras:+[$extras]} $(cat pyproject.toml scripts/constraints.txt | cksum)"
if [ "$(cat "$stamp" 2>/dev/null || true)" != "$want" ]; then
  .venv/bin/python -m pip install --quiet --disable-pip-version-check \
    --constraint scripts/constraints.txt --editable ".${extras:+[$extras]}"
  echo "$want" >"$stamp"
fi
