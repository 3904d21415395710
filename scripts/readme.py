"""Writes the README's generated parts: `python scripts/readme.py [bench.json] [FOLDER]`.

FOLDER holds what `dlax reproduce NAME --json FOLDER/NAME.json` and `... --slow --json FOLDER/NAME_slow.json` wrote.
"""

import json
import platform
import sys
from importlib import metadata
from pathlib import Path

from dlax.cli import inventory
from dlax.papers import PAPERS

README = Path(__file__).parents[1] / "README.md"


def fill(text: str, name: str, content: str) -> str:
    start, stop = f"<!-- {name} -->", f"<!-- /{name} -->"
    before, _, rest = text.partition(start)
    _, _, after = rest.partition(stop)
    return f"{before}{start}\n{content}\n{stop}{after}"


def bench_table(rows: list[dict], before: str) -> str:
    """The rows in place of those of the same name that the README has, or after them."""
    packages = ", ".join(
        f"{name} {metadata.version(name)}" for name in ("jax", "numpy", "torch") if _installed(name)
    )
    head = f"`dlax bench` on {_cpu()}, Python {platform.python_version()}, {packages}:"
    written = [line for line in before.splitlines() if line.startswith("`dlax bench` on")]
    lines = [*(written or [head]), ""]  # a part of the rows leaves the head as it is
    lines += ["| what | measured | target | holds |", "|---|---|---|---|"]
    old = [line for line in before.splitlines() if line.startswith("| ") and not line.startswith("| what")]
    table = {line.split(" | ")[0]: line for line in old}
    for row in rows:
        holds = "" if row["holds"] is None else ("yes" if row["holds"] else "**no**")
        line = f"| {row['name']} | {row['value']:.3g} {row['unit']} | {row['target']} | {holds} |"
        table[line.split(" | ")[0]] = line
    return "\n".join([*lines, *table.values()])


def papers_table(folder: Path) -> str:
    lines = ["| `dlax reproduce` | about | claims that hold, quick | with `--slow` |", "|---|---|---|---|"]
    for name, about in PAPERS.items():
        counts = [_holding(folder / f"{name}{ending}.json") for ending in ("", "_slow")]
        lines.append(f"| [`{name}`](dlax/papers/{name}.py) | {about} | {counts[0]} | {counts[1]} |")
    return "\n".join(lines)


def _holding(file: Path) -> str:
    if not file.exists():
        return ""
    rows = json.loads(file.read_text())
    return f"{sum(row['holds'] for row in rows)} of {len(rows)}"


def _installed(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def _cpu() -> str:
    import os

    info = Path("/proc/cpuinfo")
    names = [line.partition(":")[2].strip() for line in info.read_text().splitlines() if "model name" in line]
    return f"{os.cpu_count()} cores of {names[0] if names else platform.processor()}"


if __name__ == "__main__":
    text = fill(README.read_text(), "inventory", inventory())
    for given in map(Path, sys.argv[1:]):
        if given.is_dir():
            text = fill(text, "papers", papers_table(given))
        else:
            before = text.partition("<!-- bench -->")[2].partition("<!-- /bench -->")[0]
            text = fill(text, "bench", bench_table(json.loads(given.read_text()), before))
    README.write_text(text)
