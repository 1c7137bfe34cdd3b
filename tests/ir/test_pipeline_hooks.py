from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
from ir_nets import chain

from pathc.ir.facts import Blocks, Distinct
from pathc.ir.passes import parse_pipeline
from pathc.ir.passes.structure import Structure
from pathc.ir.pipeline import Hooks, Stage, load_graph, run_passes
from pathc.ir.text import parse_graph, print_graph
from pathc.support.diagnostics import InternalError, PathcError, UsageError
from pathc.support.source import Source

GRAPH = chain((16, 16, 16), 64)


@dataclass(frozen=True)
class Adds:
    name: str
    fact: object

    def __call__(self, graph):
        return replace(graph, facts=(*graph.facts, self.fact))


FIRST, SECOND = Adds("first", Distinct("main", 1, 3)), Adds("second", Distinct("main", 2, 4))


def test_passes_run_in_order():
    assert run_passes(GRAPH, [FIRST, SECOND]).facts == (FIRST.fact, SECOND.fact)
    assert run_passes(GRAPH, []) is GRAPH


def test_a_callable_sees_every_stage():
    seen: list[Stage] = []
    run_passes(GRAPH, [FIRST, SECOND], on_stage=seen.append)
    assert [(s.number, s.name) for s in seen] == [(0, "lower"), (1, "first"), (2, "second")]
    assert [len(s.graph.facts) for s in seen] == [0, 1, 2]


def test_numbered_dumps_read_back_and_the_pipeline_resumes_from_them(tmp_path):
    folder = tmp_path / "deep" / "dump"
    whole = run_passes(GRAPH, parse_pipeline("structure,coalesce"), on_stage=Hooks(dump_dir=folder))
    names = sorted(p.name for p in folder.iterdir())
    assert names == ["00-lower.pir", "01-structure.pir", "02-coalesce.pir"]
    for name in names[:2]:
        text = (folder / name).read_text()
        assert print_graph(parse_graph(Source(name, text))) == text
    resumed = load_graph(Source("01-structure.pir", (folder / "01-structure.pir").read_text()))
    assert list(resumed.facts_of(Blocks))
    assert run_passes(resumed, parse_pipeline("coalesce"), first="structure") == whole


def test_diff_of_two_dumps_is_the_facts_that_were_added():
    before, after = print_graph(GRAPH).splitlines(), print_graph(Structure()(GRAPH)).splitlines()
    added = [line for line in after if line not in before]
    assert [line for line in after if line in before] == before
    assert all(line.startswith("  blocks $main.") for line in added)


def test_print_after():
    printed: list[str] = []
    run_passes(GRAPH, [FIRST, SECOND], on_stage=Hooks(print_after=frozenset({"second"}), write=printed.append))
    assert printed == [print_graph(run_passes(GRAPH, [FIRST, SECOND]))]
    printed.clear()
    run_passes(GRAPH, [FIRST, SECOND], on_stage=Hooks(print_after=frozenset({"all"}), write=printed.append))
    assert len(printed) == 3


def test_times_and_own_callback():
    times: dict[str, float] = {}
    seen: list[str] = []
    hooks = Hooks(on_time=times.__setitem__, on_stage=lambda stage: seen.append(stage.file_name))
    run_passes(GRAPH, [FIRST], on_stage=hooks)
    assert times.keys() == {"lower", "first"}
    assert all(t >= 0 for t in times.values())
    assert seen == ["00-lower.pir", "01-first.pir"]


@pytest.mark.parametrize(("name", "facts"), [("lower", 0), ("first", 1), ("second", 2)])
def test_stop_after(name, facts):
    assert len(run_passes(GRAPH, [FIRST, SECOND], on_stage=Hooks(stop_after=name)).facts) == facts


@pytest.mark.parametrize("hooks", [Hooks(stop_after="frist"), Hooks(print_after=frozenset({"frist"}))])
def test_unknown_stages_are_usage_errors(hooks):
    with pytest.raises(UsageError) as caught:
        run_passes(GRAPH, [FIRST], on_stage=hooks)
    assert caught.value.exit_code == 2
    assert "`first`" in caught.value.diagnostics[0].help


def test_a_wrong_graph_is_the_users_fault_before_and_the_compilers_after_a_pass():
    wrong = Adds("wrong", Distinct("none", 1, 4))
    with pytest.raises(InternalError) as caught:
        run_passes(GRAPH, [wrong])
    assert caught.value.exit_code == 70
    assert "`wrong`" in caught.value.diagnostics[0].message
    assert caught.value.diagnostics[0].notes
    with pytest.raises(PathcError) as caught_before:
        run_passes(wrong(GRAPH), [FIRST])
    assert caught_before.value.exit_code == 1


def test_dump_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(PathcError) as caught:
        run_passes(GRAPH, [], on_stage=Hooks(dump_dir=tmp_path / "file"))
    assert [d.code for d in caught.value.diagnostics] == ["E0503"]


def test_texts_that_are_too_long_are_not_read(monkeypatch):
    monkeypatch.setattr("pathc.ir.pipeline._LONGEST_TEXT", 10)
    with pytest.raises(PathcError) as caught:
        load_graph(Source("big.pir", print_graph(GRAPH)))
    assert [d.code for d in caught.value.diagnostics] == ["E0409"]


def test_loaded_graphs_are_verified():
    text = print_graph(GRAPH).replace("-> %s2@2", "-> %s3@2")
    with pytest.raises(PathcError) as caught:
        load_graph(Source("net.pir", text))
    (found,) = caught.value.diagnostics
    assert found.code == "E0302"
    assert (found.loc.file, found.loc.line) == ("net.pir", 6)
