import base64
import io
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dlax.report import summary, write_report
from dlax.results import Result

RING = np.array([(i, (i + 1) % 6) for i in range(6)])
VOID = {"meta", "img", "br", "hr", "link"}


def make(label="dsgd, ring", *, seeds=3, died=(), lrs=(None,)):
    rows, nodes = [], []
    for lr in lrs:
        swept = {} if lr is None else {"algorithm.lr": lr}
        for seed in range(seeds):
            for t in (0, 5, 10):
                gone = seed in died and t == 10
                row = {"seed": seed, **swept, "round": t, "accuracy_mean": 0.5 + 0.01 * seed + 0.02 * t}
                row |= {"accuracy_worst": 0.4, "accuracy_merged": 0.8, "consensus": np.nan if gone else 0.1}
                rows.append(row | {"bits_node": 8e6 * t, "diverged": 7 if gone else -1})
            nodes += [{"seed": seed, **swept, "node": i, "samples": 5, "accuracy": 0.7} for i in range(6)]
    config = {
        "problem": {"name": "classification", "data": {"name": "digits"}},
        "topology": "ring",
        "rounds": 10,
    }
    extra: dict[str, Any] = {"seconds": {"compile": 1.5, "run": 2.25}, "versions": {"jax": "0.7.1"}}
    return Result(label, config, rows, nodes, RING, np.full((6, 3), 4), **extra)


def quadratic():
    rows = [
        {
            "seed": 0,
            "round": t,
            "suboptimality": 2.0**-t,
            "distance": 0.5,
            "accuracy_mean": np.nan,
            "diverged": -1,
        }
        for t in range(3)
    ]
    return Result("gt, ring", {}, rows, [], RING)


class Page(HTMLParser):
    """Tags with their attributes, the text under each tag, and whether tags are balanced."""

    def __init__(self, text):
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, Any]]] = []
        self.text: dict[str, list[str]] = {}
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and data.strip():
            self.text.setdefault(self.open[-1], []).append(data)

    def images(self):
        for tag, attrs in self.tags:
            if tag == "img":
                kind, data = attrs["src"].split(",")
                assert kind == "data:image/png;base64"
                with Image.open(io.BytesIO(base64.b64decode(data, validate=True))) as image:
                    yield np.asarray(image.convert("L"), float)


def test_the_summary_is_the_mean_of_the_sound_seeds():
    table = summary([make(), make("gt, ring", died={2})])
    assert list(table["result"]) == ["dsgd, ring", "gt, ring"]
    assert list(table["seeds"]) == [3, 3]
    assert list(table["diverged"]) == [0, 1]
    assert list(table["rounds"]) == [10, 10]
    finals = np.array([0.70, 0.71, 0.72])
    np.testing.assert_allclose(table["accuracy_mean"], [finals.mean(), finals[:2].mean()])
    np.testing.assert_allclose(table["accuracy_mean_std"], [finals.std(ddof=1), finals[:2].std(ddof=1)])
    np.testing.assert_allclose(table["accuracy_worst"], 0.4)
    np.testing.assert_allclose(table["megabytes_node"], 10)
    np.testing.assert_allclose(table["seconds_run"], 2.25)


def test_the_summary_has_a_row_a_swept_value_and_only_columns_with_values():
    table = summary(make(lrs=(0.1, 0.2)))
    assert list(table["algorithm.lr"]) == [0.1, 0.2]
    assert list(table["result"]) == ["dsgd, ring, lr=0.1", "dsgd, ring, lr=0.2"]
    table = summary(quadratic())
    assert "accuracy_mean" not in table
    assert table.loc[0, "suboptimality"] == 0.25
    dead = summary(make(died={0, 1, 2}))
    assert np.isnan(dead.loc[0, "accuracy_mean"])


def test_the_report_is_one_page_with_pictures_numbers_and_configs(tmp_path):
    path = write_report(
        [make(), make("gt, ring", died={2})], tmp_path / "new" / "r.html", title="Rings & things"
    )
    assert [p.name for p in path.parent.iterdir()] == ["r.html"]  # no draft is left
    text = path.read_text(encoding="utf-8")
    page = Page(text)
    assert page.text["h1"] == ["Rings & things"]
    images = list(page.images())
    assert len(images) == 6
    assert all(image.var() > 50 for image in images)
    assert all(attrs["alt"] for tag, attrs in page.tags if tag == "img")
    assert "http" not in text
    assert not {"script", "link", "iframe"} & {tag for tag, _ in page.tags}
    assert not any(name.startswith("on") for _, attrs in page.tags for name in attrs)
    assert page.text["dd"][:3] == ["6", "3", "10"]  # nodes, seeds, rounds
    assert "classification(data=digits)" in page.text["dd"]
    assert {"71.0 ± 1.0 %", "70.5 ± 0.7 %", "40.0 %", "10.0"} <= set(page.text["td"])
    assert page.text["strong"] == ["gt, ring"]
    said = "1 of 3 runs diverged (seed 2 in round 7). The numbers below are those of the other 2."
    assert said in page.text["p"][0]
    config, extra = page.text["pre"][:2]
    assert "name: classification" in config
    assert "compile: 1.5" in extra
    assert "jax: 0.7.1" in extra
    assert "prefers-color-scheme: dark" in text


def test_labels_titles_and_configs_are_escaped(tmp_path):
    result = make("<b>bold</b>, ring & co")
    result.config["note"] = "<script>alert(1)</script>"
    rows = [{"claim": "<i>a</i>", "here": 0.12345, "holds": True}, {"claim": "b", "holds": False}]
    path = write_report(result, tmp_path, title="<u>x</u>", summary_rows=rows)
    assert path == tmp_path / "report.html"
    page = Page(path.read_text(encoding="utf-8"))
    assert not {"b", "script", "i", "u"} & {tag for tag, _ in page.tags}
    assert "<b>bold</b>, ring & co" in page.text["th"]
    assert "<i>a</i>" in page.text["td"]
    assert {"yes", "no", "0.1235", "–"} <= set(page.text["td"])


@pytest.mark.parametrize(
    "results",
    [quadratic(), make(seeds=1), make(died={0, 1, 2}), [make(), quadratic()]],
    ids=["quadratic", "one seed", "all diverged", "mixed"],
)
def test_odd_results_still_make_a_report(results, tmp_path):
    page = Page(write_report(results, tmp_path, title="odd").read_text(encoding="utf-8"))
    assert all(image.var() > 10 for image in page.images())
    assert "h1" in page.text


def test_when_every_run_diverged_the_report_says_so(tmp_path):
    page = Page(write_report(make(died={0, 1, 2}), tmp_path, title="x").read_text(encoding="utf-8"))
    assert "No run is left, so there are no final numbers." in page.text["p"][0]
    assert "–" in page.text["td"]


def test_a_failed_report_leaves_the_old_one(tmp_path):
    (tmp_path / "report.html").write_text("old")
    with pytest.raises(ValueError, match="no results"):
        write_report([], tmp_path, title="x")
    assert (tmp_path / "report.html").read_text() == "old"
