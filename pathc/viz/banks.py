"""Memories drawn into the bars of their stations."""

from __future__ import annotations

from pathc.ir.facts import Bank
from pathc.ir.graph import Graph
from pathc.viz.layout import BAR, Bar
from pathc.viz.palette import of_bank
from pathc.viz.svg import Drawing, text_width

_MOST_BANKS = 64


def draw_banks(drawing: Drawing, bar: Bar, fact: Bank) -> None:
    """Colour a bar by banks: slices where a bank holds neighbours, stripes where neighbours lie in different ones.

    Of more than 64 banks every n-th is drawn.
    """
    shown = min(fact.banks, _MOST_BANKS)
    left, inner, tall = bar.x - BAR / 2 + 1, BAR - 2, bar.height - 2
    for number in range(shown):
        bank = number * fact.banks // shown
        if fact.map == "high":
            x, y, width, height = left, bar.top + 1 + tall * number / shown, inner, tall / shown
        else:
            x, y, width, height = left + inner * number / shown, bar.top + 1, inner / shown, tall
        tip = f"bank {bank} of {fact.banks}"
        drawing.add("rect", tip, x=x, y=y, width=width, height=height, fill=of_bank(bank, fact.banks))


def legend_of_banks(drawing: Drawing, graph: Graph, y: float) -> tuple[float, float]:
    """One line for each way of banking; returns where it ends and how wide it is."""
    kinds: dict[tuple[int, str], list[str]] = {}
    for fact in graph.facts_of(Bank):
        kinds.setdefault((fact.banks, fact.map), []).append(fact.station)
    widest = 0.0
    for (banks, kind), stations in kinds.items():
        for cell in range(min(banks, 13)):
            bank = cell * banks // min(banks, 13)
            drawing.add("rect", x=24 + 2 * cell, y=y - 11, width=2, height=13, fill=of_bank(bank, banks))
        held = {"high": "a bank holds neighbouring units"}.get(kind, "neighbouring units lie in different banks")
        named = ", ".join(stations[:6]) + (f" and {len(stations) - 6} more" if len(stations) > 6 else "")
        text = f"{banks} {'bank' if banks == 1 else 'banks'} ({kind}: {held}): {named}"
        drawing.text(60, y, text)
        widest = max(widest, 84 + text_width(text, 12))
        y += 23
    return y, widest
