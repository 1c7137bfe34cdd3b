from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import pytest

from pathc.ir import passes
from pathc.ir.passes.structure import Structure
from pathc.support.diagnostics import UsageError


@dataclass(frozen=True)
class Sample:
    name: ClassVar[str] = "sample"
    limit: int = 4
    ratio: float = 0.5
    loud: bool = False
    kind: str = "a"

    def __call__(self, graph):
        return graph


@pytest.fixture(autouse=True)
def _sample(monkeypatch):
    load = passes.load
    monkeypatch.setattr(passes, "load", lambda name: Sample if name == "sample" else load(name))


def test_options_are_spelled_and_read_back():
    steps = passes.parse_pipeline("structure, sample{limit=7, loud=true,kind=x} ,sample")
    assert steps == (Structure(), Sample(limit=7, loud=True, kind="x"), Sample())
    text = ",".join(map(passes.spell, steps))
    assert text == "structure,sample{limit=7,loud=true,kind=x},sample"
    assert passes.parse_pipeline(text) == steps


def test_empty_pipeline():
    assert passes.parse_pipeline(" ") == ()


@pytest.mark.parametrize(
    ("text", "code", "hint"),
    [
        ("structur", "E0320", "structure"),
        ("sample{limits=7}", "E0321", "limit"),
        ("structure{a=1}", "E0321", "none"),
        ("sample{limit=x}", "E0322", "int"),
        ("sample{limit=-1}", "E0322", "from 0 on"),
        ("sample{loud=1}", "E0322", "true"),
        ("sample{limit}", "E0323", "k=v"),
        ("sample{limit=1", "E0323", "name"),
        ("structure,", "E0323", "name"),
        ("structure sample", "E0323", "name"),
    ],
)
def test_mistakes_are_diagnosed(text, code, hint):
    with pytest.raises(UsageError) as caught:
        passes.parse_pipeline(text)
    (diagnostic,) = caught.value.diagnostics
    assert diagnostic.code == code
    assert hint in diagnostic.help


def test_every_registered_pass_loads_under_its_name_and_documents_itself():
    for name, cls in passes.registry().items():
        assert cls.name == name
        assert cls.__doc__.strip()
        assert passes.parse_pipeline(name) == (cls(),)
