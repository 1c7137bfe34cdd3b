"""The page of passes: what it holds, and how it behaves in a real browser."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import BINARY, Browser, browser

from pathc.cli import main
from pathc.driver import Options
from pathc.gallery import page_of
from pathc.support.source import Source
from pathc.viz.page import changes

MODEL = """pathc 1
model m

input  x[64]
layer  a[64] : relu
output y[16]
paths main : x -> a -> y { count = 256 }
"""
PASSES = "canonical,structure,bank{banks=4}"
needs_browser = pytest.mark.skipif(BINARY is None, reason="needs chromium, as `apt-get install chromium` installs it")


def record_of(page: str) -> dict[str, object]:
    match = re.search(r'<script id="data" type="application/json">(.*?)</script>', page, re.DOTALL)
    assert match is not None
    return json.loads(match[1])


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("page") / "page.html"
    sides = [(Source("m.path", MODEL), Options(pipeline=PASSES))]
    file.write_text(page_of(sides), encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def tab(page: Path) -> Iterator[Browser]:
    with browser() as made:
        made.size(1200, 900)
        made.open(page.as_uri())
        yield made


def test_the_page_needs_nothing_from_outside(page: Path) -> None:
    text = page.read_text()
    assert not re.search(r"(?:src|href)=|@import|url\(", text)
    assert set(re.findall(r"https?://[^\"\\ ]+", text)) <= {"http://www.w3.org/2000/svg"}


def test_hostile_text_stays_text() -> None:
    text = MODEL.replace("pathc 1\n", "pathc 1\n# </script><script>alert(1)</script> & <!--\n")
    made = page_of([(Source("m.path", text), Options())])
    assert made.count("<script") == 2
    side = record_of(made)["sides"][0]  # type: ignore[index]
    assert side["source"] == text.splitlines()


def test_changes_of_two_dumps() -> None:
    assert changes(["a", "b", "c"], ["a", "B", "c", "d"]) == [
        (" ", "a"), ("-", "b"), ("+", "B"), (" ", "c"), ("+", "d"),
    ]  # fmt: skip


def test_a_refused_target_leaves_its_reason() -> None:
    text = MODEL.replace("relu", "relu | batchnorm | relu")
    side = record_of(page_of([(Source("m.path", text), Options())]))["sides"][0]  # type: ignore[index]
    assert side["plan"]
    assert all(line.startswith("E0379") for line in side["plan"])


def test_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, other = tmp_path / "m.path", tmp_path / "other.path"
    model.write_text(MODEL)
    other.write_text(MODEL.replace("model m", "model other"))
    assert main(["dump", str(model), "--emit", "html", "--beside", str(other)]) == 0
    assert len(record_of(capsys.readouterr().out)["sides"]) == 2  # type: ignore[arg-type]
    assert main(["dump", str(model), "--emit", "html", "--beside-passes", "structure"]) == 0
    assert "m.path   structure" in capsys.readouterr().out


@needs_browser
def test_slider_moves_through_the_passes(tab: Browser) -> None:
    tab.size(1200, 900)
    assert tab.ask("document.getElementById('slider').max") == "3"
    assert "bank" in tab.ask("document.getElementById('stage').textContent")
    assert tab.ask("[...document.querySelectorAll('.new')].filter(e => e.textContent.includes('bank %')).length") == 3
    colours = tab.ask("document.querySelectorAll('.map [fill]').length")
    step = "(s => { s.value = %d; s.dispatchEvent(new Event('input')); })(document.getElementById('slider'))"
    tab.ask(step % 2)
    assert "structure" in tab.ask("document.getElementById('stage').textContent")
    assert tab.ask("[...document.querySelectorAll('.new')].filter(e => e.textContent.includes('blocks')).length") == 2
    assert tab.ask("document.querySelectorAll('.map [fill]').length") < colours
    tab.ask(step % 0)
    assert tab.ask("document.querySelectorAll('.new, .gone').length") == 0
    tab.ask(step % 3)


@needs_browser
def test_hover_shows_the_line_and_back(tab: Browser) -> None:
    tab.size(1200, 900)
    tab.hover(".map g.station rect")
    assert "input  x[64]" in tab.ask("[...document.querySelectorAll('.code .at')].map(e => e.textContent).join('|')")
    tab.hover(".code div[data-line='5']")
    lit = tab.ask("[...document.querySelectorAll('.at')].map(e => e.textContent).join('|')")
    assert "%a :" in lit
    assert "layer  a[64]" in lit
    assert tab.ask("document.querySelectorAll('g.at').length") == 1


@needs_browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_in_light_and_dark(tab: Browser, scheme: str) -> None:
    """WCAG asks for a contrast of 4.5 between text and paper."""
    tab.scheme(scheme)
    paper = luminance(tab.ask("getComputedStyle(document.body).backgroundColor"))
    assert (paper < 0.1) == (scheme == "dark")
    for selector, style in (("body", "color"), (".card > h3", "color"), (".map text", "fill")):
        text = luminance(tab.ask(f"getComputedStyle(document.querySelector('{selector}')).{style}"))
        assert (max(text, paper) + 0.05) / (min(text, paper) + 0.05) >= 4.5, selector


@needs_browser
@pytest.mark.parametrize("width", [360, 412, 1200])
def test_nothing_hangs_over_the_edge(tab: Browser, width: int) -> None:
    tab.size(width, 800, mobile=width < 500)
    assert tab.ask("document.documentElement.scrollWidth") <= width
    assert tab.ask("document.getElementById('slider').getBoundingClientRect().right") <= width


def luminance(colour: str) -> float:
    channels = [int(c) / 255 for c in re.findall(r"\d+", colour)[:3]]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
