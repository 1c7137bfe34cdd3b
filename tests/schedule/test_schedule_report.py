import json
import time

import numpy as np
import pytest
from schedule_nets import net, sobol

from pathc import driver
from pathc.ir.catalogue import INTERLEAVERS
from pathc.ir.generators import resolve
from pathc.ir.generators.interleaver import dispersion, interleave, spread
from pathc.ir.passes import parse_pipeline
from pathc.ir.pipeline import run_passes
from pathc.ir.schedule import KINDS, build, schedule_json, schedule_report
from pathc.ir.schedule.advice import advice
from pathc.ir.schedule.banks import Banks
from pathc.ir.schedule.report import weight_permutation
from pathc.ir.types import Call, Word


def run(graph, text):
    return run_passes(graph, parse_pipeline(text))


def test_784_300():
    graph = net((784, 300, 300, 10), range(4), 4096)
    start = time.perf_counter()
    text, record = schedule_report(graph), schedule_json(graph)
    assert time.perf_counter() - start < 5
    first = record["junctions"]["main.1"]
    assert (first["kind"], first["z"], first["paths"], first["proof"]) == ("blocks", 16, 4096, "count")
    kinds = first["kinds"]
    assert [kinds[k]["time"] for k in ("blocks", "stall", "colour")] == [267, 267, 260]
    assert kinds["blocks"]["chosen"]
    assert (kinds["blocks"]["source_clashes"], kinds["blocks"]["destination_clashes"]) == (0, 44)
    assert "do not divide evenly" in kinds["sv"]["reason"]
    assert "no basic, sv, ss, md, sv+ss, ss+md, sv+md, sv+ss+md, type1, type2, type3: `interleaver` gives" in text
    assert "main.1  s0 784 in 16 banks (high) -> s1 300 in 16 banks (high), 4,096 paths in 16 lanes\n" in text
    json.dumps(record)


def test_interleavers_side_by_side():
    record = schedule_json(net((64, 32), range(2), 256))["junctions"]["main.1"]
    assert list(record["kinds"]) == list(KINDS)
    assert all(record["kinds"][kind]["clash_free"] for kind in KINDS)
    assert all(record["kinds"][kind]["utilisation"] == 1.0 for kind in KINDS)
    irregular = {kind: record["kinds"][kind]["dispersion"] for kind in INTERLEAVERS}
    assert irregular["basic"] < 0.08 < irregular["sv+ss"] < 0.2 < irregular["md"] < irregular["sv+ss+md"]
    assert record["kinds"]["basic"]["spread"] in (18, 20)
    assert record["addresses"].startswith("one row a cycle at both ends")


@pytest.mark.parametrize("kind", INTERLEAVERS)
def test_the_permutation_of_a_schedule_is_the_interleaver(kind):
    graph = net((64, 32), range(2), 256, Call("interleaver", (("kind", Word(kind)), ("z", 16), ("seed", 7))))
    paths = resolve(graph.lines[0], graph)
    schedule = build(kind, paths, 1, 16, Banks(64, 16, "low"), Banks(32, 16, "low"))
    pi, expected = weight_permutation(schedule), paths.junction(1)
    assert sorted(pi.tolist()) == list(range(256))
    assert pi.tolist() == expected.tolist()
    assert (spread(pi), dispersion(pi)) == (spread(expected), dispersion(expected))
    assert len(interleave(kind, 64, 4, 16)) == len(pi)


def test_idle_lanes_do_not_count_as_weights():
    paths = resolve(*_line(net((48, 20), range(2), 100, Call("random"))))
    schedule = build("colour", paths, 1, 8, Banks(48, 8), Banks(20, 8))
    assert (schedule.lanes < 0).any()
    pi = weight_permutation(schedule)
    assert sorted(pi.tolist()) == list(range(100))
    assert (np.sort(schedule.sources)[pi] == schedule.sources[schedule.issued()]).all()


def _line(graph):
    return graph.lines[0], graph


def test_addresses():
    plain = net((256, 64), range(2), 1024)
    assert "one row a cycle at both ends; lanes to banks" in schedule_report(plain)
    assert "rows with a constant of the lane added" in schedule_report(net((256, 64), range(2), 1024, sobol("lms", 2)))
    assert "addresses from a table" in schedule_report(net((256, 64), range(2), 1024, sobol("owen", 2)))
    assert "one row a cycle to read" in schedule_report(run(plain, "bank{map=low,station=s1},interleave"))
    assert "one row a cycle to write" in schedule_report(run(plain, "bank{map=low,station=s0},interleave"))


def test_two_to_the_forty_paths():
    record = schedule_json(net((1 << 20, 1 << 16), range(2), 1 << 40))["junctions"]["main.1"]
    assert list(record["kinds"]) == ["blocks"]
    assert (record["kinds"]["blocks"]["cycles"], record["kinds"]["blocks"]["spread"]) == (1 << 36, None)


@pytest.mark.parametrize(
    ("graph", "text", "cure"),
    [
        (net((784, 300), range(2), 4096), "interleave", "with `s0[1024]` and `s1[512]` no two lanes ask the same bank"),
        (net((1024, 300), range(2), 4100), "interleave", "with `s1[512]` and count = 4112 no two"),
        (net((1024, 300), range(2), 4096), "interleave{z=24}", "with `s1[512]` and z = 32 and bank{banks=32,map=high}"),
        (net((1024, 256), range(2), 4096), "bank{map=low},interleave", "with bank{banks=16,map=high} no two"),
        (net((1024, 256), range(2), 4096, Call("random")), "interleave", "interleave{kind=colour}"),
    ],
)
def test_cures(graph, text, cure):
    (warning,) = advice(run(graph, text))
    assert warning.code == "W0350"
    assert cure in warning.help
    assert warning.help in schedule_report(run(graph, text))


def test_paths_too_many_to_count_are_named():
    (warning,) = advice(run(net((1000, 1000), range(2), 1 << 30), "interleave"))
    assert "were not counted" in warning.message
    assert "`s0[1024]` and `s1[1024]`" in warning.help


def test_nothing_to_say():
    assert advice(run(net((1024, 256), range(2), 4096), "interleave")) == []


def test_a_compiled_model_warns_of_stalls_in_its_schedule():
    graph = net((784, 300), range(2), 4096)
    stalling, clean = (
        driver.compile_model(graph, options=driver.Options(pipeline=f"canonical,structure,interleave{{kind={kind}}}"))
        for kind in ("blocks", "colour")
    )
    assert [note.code for note in stalling.notes] == ["W0350", "W0802"]
    assert [note.code for note in clean.notes] == ["W0802"]
