"""Writes the README's generated parts: `python scripts/readme.py [bench.json]`."""

import json
import platform
import sys
from importlib import metadata
from pathlib import Path

from dlax.cli import inventory

README = Path(__file__).parents[1] / "README.md"


def fill(text: str, name: str, content: str) -> str:
    start, stop = f"<!-- {name} -->", f"<!-- /{name} -->"
    before, _, rest = text.partition(start)
    _, _, after = rest.partition(stop)
    return f"{before}{start}\n{content}\n{stop}{after}"


def bench_table(rows: list[dict]) -> str:
    packages = ", ".join(
        f"{name} {metadata.version(name)}" for name in ("jax", "numpy", "torch") if _installed(name)
    )
    lines = [f"`dlax bench` on {_cpu()}, Python {platform.python_version()}, {packages}:", ""]
    lines += ["| what | measured | target | holds |", "|---|---|---|---|"]
    for row in rows:
        holds = "" if row["holds"] is None else ("yes" if row["holds"] else "**no**")
        lines.append(f"| {row['name']} | {row['value']:.3g} {row['unit']} | {row['target']} | {holds} |")
    return "\n".join(lines)


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
    if len(sys.argv) > 1:
        text = fill(text, "bench", bench_table(json.loads(Path(sys.argv[1]).read_text())))
    README.write_text(text)
