"""What a fresh machine installs: the pins of the scripts and the bounds of the package agree."""

import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import dlax

ROOT = Path(dlax.__file__).parents[1]


def test_every_pin_is_within_the_bound_of_the_package():
    lines = (ROOT / "scripts" / "constraints.txt").read_text().splitlines()
    pins = [Requirement(line) for line in lines if not line.startswith("#")]
    pinned = {canonicalize_name(pin.name): str(pin.specifier).removeprefix("==") for pin in pins}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    for line in [
        *project["dependencies"],
        *(line for part in ("test", "notebooks", "theory") for line in extras[part]),
    ]:
        bound = Requirement(line)
        if bound.name != "dlax":
            assert pinned[canonicalize_name(bound.name)] in bound.specifier, line
