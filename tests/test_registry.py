"""The registry: every entry resolves to plain data and back, and mistakes are answered with what is allowed."""

import inspect

import numpy as np
import pytest
import yaml

import dlax
from dlax import registry
from dlax.data import DataNotFound

ENTRIES = [(kind, name) for kind, entries in registry.REGISTRY.items() for name in entries]
every_entry = pytest.mark.parametrize(("kind", "name"), ENTRIES, ids=lambda word: word)

# What entries need that have no defaults for it.
REQUIRED = {
    ("topology", "file"): {"path": "graph.txt"},
    ("placement", "at"): {"nodes": [1]},
    ("placement", "bounded"): {"count": 1},
    ("placement", "by_degree"): {"count": 1},
    ("placement", "clustered"): {"count": 1},
    ("placement", "last"): {"count": 1},
    ("placement", "random"): {"count": 1},
    ("fault", "together"): {"faults": ["on_off"]},
    ("fault", "trace"): {"path": "trace.csv"},
    ("problem", "classification"): {"dataset": "digits"},
    ("problem", "logistic"): {"dataset": {"name": "npz", "path": "data.npz"}},
    ("problem", "one_class"): {"dataset": "digits"},
    ("problem", "softmax"): {"dataset": "digits"},
    ("speeds", "listed"): {"seconds": [1.0, 2.0, 3.0, 4.0, 5.0]},
    ("dataset", "npz"): {"path": "data.npz"},
    ("dataset", "hub"): {"repo": "owner/data"},
    ("schedule", "cosine"): {"rounds": 10},
    ("schedule", "steps"): {"at": [5, 8]},
    ("topology", "cyclic"): {"members": ["ring", {"name": "star", "weights": "max_degree"}]},
    ("topology", "random_sequence"): {"members": ["ring", "path"]},
    ("weights", "laplacian"): {"step": 0.1},
}
SIZE = {
    ("topology", "hypercube"): 8,
    ("topology", "torus"): 9,
    ("topology", "grid"): 9,
    ("topology", "caveman"): 9,
    ("topology", "file"): 4,
}


@pytest.fixture
def files(tmp_path, monkeypatch):
    """A small graph and a small data set of two classes in the working directory."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(40, 3)).astype(np.float32), np.arange(40) % 2
    np.savez(tmp_path / "data.npz", x_train=x, y_train=y, x_test=x[:8], y_test=y[:8])
    (tmp_path / "graph.txt").write_text("0 1\n1 2\n2 3\n")
    (tmp_path / "trace.csv").write_text("round,node,state\n3,0,asleep\n")
    monkeypatch.chdir(tmp_path)


# What a run fills in, and with what here.
GIVEN = {
    "problem": {"n": 5},
    "topology": {"n": 5},
    "scheduler": {"seconds": (1.0, 2.0, 3.0), "duration": 5.0, "aggregations": None},
    "speeds": {"m": 5, "seed": 0},
}


def given(kind):
    return tuple(GIVEN.get(kind, ()))


@every_entry
def test_defaults_resolve_to_plain_data_that_survive_yaml(kind, name):
    spec = {"name": name, **REQUIRED.get((kind, name), {})}
    resolved = registry.resolve(kind, spec, path=kind, given=given(kind))
    assert next(iter(resolved)) == "name"
    parameters = set(inspect.signature(registry.lookup(kind, name, path=kind)).parameters) - set(given(kind))
    assert set(resolved) == {"name", *parameters}
    back = yaml.safe_load(yaml.safe_dump(resolved))
    assert registry.resolve(kind, back, path=kind, given=given(kind)) == resolved == back


@every_entry
def test_everything_is_built_from_its_resolved_defaults(kind, name, files):
    spec = {"name": name, **REQUIRED.get((kind, name), {})}
    resolved = registry.resolve(kind, spec, path=kind, given=given(kind))
    extra = GIVEN.get(kind, {}) | ({"n": SIZE[kind, name]} if (kind, name) in SIZE else {})
    try:
        made = registry.build(kind, resolved, **extra)
    except DataNotFound as missing:
        pytest.skip(str(missing))
    assert made is not None
    if kind in ("problem", "topology"):
        assert made.n == extra["n"]


@every_entry
def test_unknown_options_are_refused_with_the_known_ones(kind, name):
    with pytest.raises(ValueError, match=rf"here\.optionn: unknown option, given 1; {name} takes "):
        registry.resolve(kind, {"name": name, "optionn": 1}, path="here")


@every_entry
def test_json_schemas_are_valid(kind, name):
    schema = registry.json_schema(kind, name)
    parameters = inspect.signature(registry.lookup(kind, name, path=kind)).parameters
    assert schema["type"] == "object" and sorted(schema.get("properties", {})) == sorted(parameters)
    needed = [p for p, parameter in parameters.items() if parameter.default is parameter.empty]
    assert sorted(schema.get("required", [])) == sorted(needed)
    for key, described in schema.get("properties", {}).items():
        kinds = [described, *described.get("anyOf", [])]
        assert any(
            "type" in each or "enum" in each or "const" in each or "anyOf" in each for each in kinds
        ), key


@every_entry
def test_default_texts_are_what_a_person_writes(kind, name):
    for option, parameter in inspect.signature(registry.lookup(kind, name, path=kind)).parameters.items():
        text = registry.default_text(kind, name, option)
        assert (text is None) == (parameter.default is parameter.empty)
        assert text is None or "<" not in text


@pytest.mark.parametrize(
    ("kind", "spec", "message"),
    [
        ("algorithm", "dsdg", r"algorithm 'dsdg'; choose one of dsgd, .*; did you mean 'dsgd'\?"),
        ("algoritm", "dsgd", r"unknown kind 'algoritm'; choose one of .*; did you mean 'algorithm'\?"),
        (
            "algorithm",
            {"name": "dsgd", "lrr": 1},
            r"here\.lrr: .*given 1; dsgd takes lr, .*; did you mean 'lr'\?",
        ),
        (
            "algorithm",
            {"name": "dsgd", "lr": "fast"},
            r"here\.lr: input should be a valid number, .*given 'fast'",
        ),
        (
            "algorithm",
            {"name": "dsgd", "local_steps": 1.5},
            r"here\.local_steps: .*valid integer.*given 1\.5",
        ),
        (
            "algorithm",
            {"name": "dsgd", "order": "both"},
            r"here\.order: .*'adapt_then_combine', .*given 'both'",
        ),
        (
            "algorithm",
            {"name": "dsgd", "optimizer": "adm"},
            r"here\.optimizer: unknown .*did you mean 'adam'\?",
        ),
        (
            "algorithm",
            {"name": "dsgd", "optimizer": {"b1": 0.9}},
            r"here\.optimizer: 'name' is missing; choose",
        ),
        (
            "algorithm",
            {"name": "dsgd", "optimizer": {"name": "adam", "b3": 0.9}},
            r"here\.optimizer\.b3: unknown option, given 0\.9; adam takes b1, b2",
        ),
        (
            "topology",
            {"name": "ring", "n": "many"},
            r"here\.n: input should be a valid integer.*given 'many'",
        ),
        ("topology", "ring", r"here\.n: is required"),
        ("schedule", "cosine", r"here\.rounds: is required"),
        (
            "schedule",
            {"name": "constant", "rounds": 3},
            r"here\.rounds: .*given 3; constant takes no options",
        ),
        ("algorithm", 3, "here: expected a name or a mapping with 'name', got 3"),
        ("algorithm", {"name": ["dsgd"]}, r"here: unknown algorithm \['dsgd'\]; choose one of"),
        ("algorithm", {"name": None}, "here: unknown algorithm None; choose one of"),
    ],
)
def test_mistakes_are_named_by_path_value_and_what_is_allowed(kind, spec, message):
    with pytest.raises(ValueError, match=message):
        registry.resolve(kind, spec, path="here")


def test_make_names_the_kind_in_its_errors():
    with pytest.raises(ValueError, match=r"algorithm\.lrr: unknown option"):
        dlax.make("algorithm", "dsgd", lrr=1)
    with pytest.raises(ValueError, match="unknown kind 'graphs'; choose one of"):
        dlax.list_registry("graphs")


def test_numbers_may_be_written_as_yaml_reads_them():
    """PyYAML takes 1e-3 for a string; a number is asked for, so it is one."""
    assert yaml.safe_load("1e-3") == "1e-3"
    assert registry.resolve("algorithm", {"name": "dsgd", "lr": "1e-3"}, path="algorithm")["lr"] == 1e-3


def test_nested_specs_are_names_mappings_or_objects():
    from dlax.topology import metropolis, uniform_neighbour

    by_name = dlax.make("topology", "star", n=5, weights="uniform_neighbour").dense()
    by_mapping = dlax.make("topology", "star", n=5, weights={"name": "uniform_neighbour"}).dense()
    by_object = dlax.make("topology", "star", n=5, weights=uniform_neighbour()).dense()
    np.testing.assert_array_equal(by_name, by_mapping)
    np.testing.assert_array_equal(by_name, by_object)
    assert (by_name != dlax.make("topology", "star", n=5, weights=metropolis()).dense()).any()


def test_a_compressor_is_named_described_or_given():
    """A record of functions is one thing, though it is a tuple."""
    from dlax.compress import sign

    assert registry.resolve("channel", "choco", path="channel")["compressor"] == {
        "name": "top_k", "fraction": 0.1
    }  # fmt: skip
    given = sign()
    spec = registry.resolve("algorithm", {"name": "choco_sgd", "compressor": given}, path="algorithm")
    assert spec["compressor"] is given and registry.build("algorithm", spec)
    assert registry.default_text("algorithm", "lead", "compressor") == "dithered"
    with pytest.raises(ValueError, match=r"channel\.compressor\.fractions: .*did you mean 'fraction'\?"):
        dlax.make("channel", "choco", compressor={"name": "top_k", "fractions": 0.1})


def test_nested_defaults_are_written_down_whole():
    resolved = registry.resolve("algorithm", "dsgd", path="algorithm")
    assert resolved["optimizer"] == {"name": "sgd", "momentum": None, "nesterov": False}
    assert resolved["schedule"] == {"name": "constant"}


@pytest.mark.parametrize(
    ("kind", "name", "traced"),
    [
        ("algorithm", "dsgd", ["lr"]),
        ("channel", "linear", ["drop"]),
        ("problem", "quadratic", []),
        ("topology", "ring", []),
    ],
)
def test_options_left_of_the_star_are_traced(kind, name, traced):
    assert registry.traced_options(kind, name) == traced


def test_list_registry_keeps_the_registries_order():
    assert dlax.list_registry("algorithm") == list(registry.REGISTRY["algorithm"])
