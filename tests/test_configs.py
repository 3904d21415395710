"""Every shipped config resolves whole, and every value that it sweeps runs two rounds."""

from pathlib import Path

import numpy as np
import pytest
import yaml

from dlax import experiment
from dlax.data import DataNotFound

ROOT = Path(__file__).parents[1]
CONFIGS = sorted((ROOT / "configs").rglob("*.yaml"))
assert CONFIGS, "configs/ is empty"
every_config = pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)


@every_config
def test_it_resolves_and_its_resolved_form_is_the_same_experiment(path):
    for cell in experiment.expand(experiment.load(path)):
        plain = cell.model_dump(mode="json")
        assert experiment.resolve(yaml.safe_load(yaml.safe_dump(plain))) == cell


@every_config
def test_its_head_says_how_to_run_it_and_what_to_expect(path):
    comments = [line for line in path.read_text().splitlines() if line.startswith("#")]
    head = "\n".join(comments)
    assert str(path.relative_to(ROOT)) in head and "Expect" in head


MOST = (
    4  # cells of a config that are run; rules and attacks run, each of them, in contract tests of their own
)


@every_config
def test_every_value_builds_and_some_run_two_rounds(path):
    """As many combinations as the longest list has values, so that each is in one; one seed, one traced value."""
    length = "duration" if "duration" in experiment.load(path) else "rounds"
    raw = experiment.load(path, [f"{length}=2", "eval_every=1", "seeds=1"])
    raw["vmap"] = {option: values[:1] for option, values in raw.get("vmap", {}).items()}
    cells = experiment.expand(raw)
    lengths = [len(values) for values in raw.get("grid", {}).values()]
    places = [np.ravel_multi_index([i % k for k in lengths], lengths) for i in range(max(lengths, default=0))]
    chosen = [cells[place] for place in places] or cells
    run = {int(place) for place in np.linspace(0, len(chosen) - 1, min(MOST, len(chosen)))}
    for place, cell in enumerate(chosen):
        try:
            if place not in run:
                experiment.build(cell)
                continue
            result = experiment.run(cell)
        except ValueError as error:
            if isinstance(error.__cause__, DataNotFound):  # under the path of the problem
                pytest.skip(str(error))
            raise
        assert [row["round"] for row in result.rows] == [0, 1, 2]
        assert result.diverged == []
        assert np.isfinite(result.rows[-1]["objective"])
