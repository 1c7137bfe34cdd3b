from __future__ import annotations

import json

import pytest
from nets import net, sobol

from pathc.ir.report import structure_json, structure_report
from pathc.ir.types import Call


def test_blocks_windows_and_constants_are_shown():
    text = structure_report(net((1024, 256, 16), range(3), 12288))
    assert "32 dense blocks of 8 x 32, rank 13 in paths 0 .. 8,191" in text
    assert "span(020 040 080 101 202), block k adds span(001 002 004 008 010; k)" in text
    assert "every edge 2 times" in text
    assert "24,576 of 266,240 if dense" in text


def test_what_a_power_of_two_would_gain():
    text = structure_report(net((1000, 1024), (0, 1), 16384))
    assert "none: 1000 is no power of two" in text
    assert "1024 -> 1024 units would have 64 dense blocks of 16 x 16" in text
    assert "dense line would cost less" in structure_report(net((300, 10), (0, 1), 4096))


@pytest.mark.parametrize(
    ("generator", "reason"),
    [
        (sobol("owen"), "nested scrambling"),
        (sobol("none", skip=3), "skip = 3"),
        (Call("random"), "`random` is not linear"),
    ],
)
def test_why_there_is_no_structure(generator, reason):
    assert reason in structure_report(net((64, 64), (0, 1), 256, generator))


def test_mixing_and_coverage():
    text = structure_report(net((256,) * 5, (0, 1, 0, 1, 0), 1024))
    assert "a unit sees 4, 4, 4, 4 of 256 units of s0; 64 pieces" in text
    assert "s0 4, s1 4" in text
    assert "0..1 (32 units on no path)" in structure_report(net((64, 64), (0, 1), 32))


def test_huge_nets():
    text = structure_report(net((1 << 20, 1 << 20), (0, 1), 1 << 30))
    assert "1,024 dense blocks of 1024 x 1024" in text
    assert "not searched" in structure_report(net((300, 300), (0, 1), 1 << 30))


def test_json_holds_the_same():
    record = json.loads(json.dumps(structure_json(net((784, 256, 64), range(3), 4096))))
    junctions = record["lines"]["main"]["junctions"]
    assert junctions["1"]["windows"] == []
    assert junctions["1"]["bicliques"] is not None
    (window,) = junctions["2"]["windows"]
    assert (window["blocks"] * window["fan_in"], window["repeat"]) == (256, 1)
    assert record["lines"]["main"]["valence"][0]["touched"] == 784
    assert record["cost"]["weights"] == 8192
