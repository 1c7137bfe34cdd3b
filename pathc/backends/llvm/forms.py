"""The kernel forms there are, and the choice between them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from importlib import import_module

from pathc.backends.llvm.column.fused import ColumnFused
from pathc.backends.llvm.machine import Machine
from pathc.backends.llvm.plan import Family, Form, Junction, Layout, Step, Tiled, TileOption, Tiles, WeightType
from pathc.support.diagnostics import did_you_mean, error

_FORMS = {
    "interleaved": ("row.interleaved", "Interleaved"),
    "dot": ("row.narrow", "Dot"),
    "spread": ("row.narrow", "Spread"),
    "windowed": ("general.windowed", "Windowed"),
    "streamed": ("general.streamed", "Streamed"),
    "dense": ("general.dense", "Dense"),
    "gather": ("general.gather", "Gather"),
    "skip": ("general.skip", "Skip"),
    "column-blocks": ("column.blocks", "ColumnBlocks"),
    "column-fused": ("column.fused", "ColumnFused"),
    "column-ell": ("column.ell", "ColumnEll"),
    "column-unrolled": ("column.unrolled", "ColumnUnrolled"),
    "column-dense": ("column.dense", "ColumnDense"),
    "column-skip": ("column.skip", "ColumnSkip"),
}
ARRANGED = "interleaved"
"""The form that asks for layouts of its own."""
UNROLLED = "column-unrolled"
"""The form for which tiles of a vector may be as good as wider ones."""
FUSED = "column-fused"
"""The form that takes two junctions at once."""


@dataclass(frozen=True)
class Choices:
    """What the user may decide about a plan.

    `forms` maps a junction (`main.1`) or `*` to the name of the form to use; the cost model decides the others,
    among all but those in `without`.
    """

    weight_type: WeightType = "f32"
    forms: Mapping[str, str] = field(default_factory=dict[str, str])
    without: tuple[str, ...] = ()


def form_names() -> tuple[str, ...]:
    """Names of all kernel forms."""
    return tuple(_FORMS)


def check_forms(forms: Mapping[str, str], junctions: Iterable[Junction]) -> None:
    """Raise PathcError E0612 unless `forms` maps junctions that exist, or `*`, to forms that exist."""
    places = [f"{junction.line}.{junction.number}" for junction in junctions]
    for place, name in forms.items():
        form(name)
        if place != "*" and place not in places:
            hint = did_you_mean(place, places) or f"junctions: {', '.join(places[:8])}"
            raise error("E0612", f"there is no junction `{place}` to compute by `{name}`", help=hint)


@cache
def form(name: str) -> Form:
    """The form of that name; E0612 if there is none."""
    if name not in _FORMS:
        hint = did_you_mean(name, _FORMS) or f"forms: {', '.join(_FORMS)}"
        raise error("E0612", f"there is no kernel form `{name}`", help=hint)
    module, cls = _FORMS[name]
    return getattr(import_module(f"pathc.backends.llvm.{module}"), cls)()


def tile_options(name: str) -> tuple[TileOption, ...]:
    """What can be chosen about a form, besides the form itself."""
    found = form(name)
    return found.tiles if isinstance(found, Tiled) else ()


def tile_of(step: Step, machine: Machine) -> Tiles:
    """What the form of a step chooses for it."""
    found = form(step.form)
    return found.tile(step, machine) if isinstance(found, Tiled) else ()


def form_cycles(step: Step, machine: Machine, samples: int) -> float:
    """The cost model's clock cycles for a step."""
    return form(step.form).cycles(step, machine, samples)


def choose_form(junction: Junction, machine: Machine, family: Family, samples: int, choices: Choices) -> str:
    """Name of the cheapest form that fits, or of the forced one; E0611 where a forced one does not fit."""
    place = f"{junction.line}.{junction.number}"
    here = choices.forms.get(place, "")
    wanted = here or choices.forms.get("*", "")
    if wanted and form(wanted).family == family:
        reason = form(wanted).refusal(junction, machine)
        if not reason and wanted not in choices.without:
            return wanted
        if here:
            raise error("E0611", f"kernel form `{here}` cannot compute {place}: {reason}")
    layouts = Layout(junction.n_src), Layout(junction.n_dst)
    costs: dict[str, float] = {}
    for name in _FORMS:
        candidate = form(name)
        if candidate.family != family or name in (FUSED, *choices.without) or candidate.refusal(junction, machine):
            continue
        step = Step(name, family, junction, *layouts, "zero", None, choices.weight_type)
        costs[name] = candidate.cycles(step, machine, samples)
    return min(costs, key=costs.__getitem__)


def fused_step(first: Step, second: Step, machine: Machine, samples: int, choices: Choices) -> Step | None:
    """The two steps as one, where that fits and pays."""
    pair = ColumnFused()
    forced = choices.forms.get("*", "")
    if forced not in ("", FUSED) or any(
        f"{s.junction.line}.{s.junction.number}" in choices.forms for s in (first, second)
    ):
        return None
    if pair.pair_refusal(first.junction, second.junction, machine):
        return None
    step = replace(
        first,
        form=FUSED,
        tile=(),
        fused=second.junction,
        dst_layout=second.dst_layout,
        fused_init="bias" if second.init == "bias" else "zero",
        fused_activation=second.activation,
    )
    apart = form_cycles(first, machine, samples) + form_cycles(second, machine, samples)
    return step if forced or form_cycles(step, machine, samples) < apart else None
