"""Recurrent cells: what the stage of a station says about gates, directions, states and weights.

A line into a cell carries one set of weights per input matrix: its tensors have a leading axis of `copies`, number
(direction * window + tap) * gates + gate (left out where there is one copy only). Two directions whose results are
concatenated need no second copy: a path or dense row belongs to the direction of the unit it leads to. Biases and the
tensors of a normalization in front of the cell have a leading axis of `bias_copies`, number direction * gates + gate.
`<station>.recurrent.<gate>` holds the hidden-to-hidden weights of a gate, `<station>.recurrent.<gate>.reverse` those of
the direction that runs backwards in time.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache

from pathc.ir.catalogue import CELLS, canonical, find, options_of
from pathc.ir.extents import POOLS
from pathc.ir.graph import Graph, Station
from pathc.ir.types import Call, Word
from pathc.support.diagnostics import Diagnostic
from pathc.support.source import Loc

GATES: dict[str, tuple[str, ...]] = {
    "rnn": ("h",),
    "lstm": ("i", "f", "g", "o"),
    "gru": ("r", "z", "n"),
    "ligru": ("z", "h"),
    "qrnn": ("z", "f", "o"),
    "sru": ("x", "f", "r"),
    "indrnn": ("h",),
    "linear": ("h",),
}
"""Gates with an input matrix, by cell, in the order of the leading axis of its tensors."""

RECURRENT_GATES: dict[str, tuple[str, ...]] = {**GATES, "qrnn": (), "sru": ("f", "r")}
"""Gates with hidden-to-hidden weights, by cell."""

STATES: dict[str, int] = {"lstm": 2}
"""Vectors a cell hands on from step to step, one unless named here: h, or c where the output is made of c."""

_ELEMENTWISE = ("sru", "indrnn")
_INSIDE = ("batchnorm", "shortcut", *POOLS)
"""Stages of a trained layer that move in front of the recurrence when the layer becomes recurrent."""


@dataclass(frozen=True)
class Cell:
    """A station's recurrent cell.

    `hidden` are the units of one direction. `recur` is the structure of the hidden-to-hidden matrices, `activation`
    the function of a simple cell's new state, `reset` says whether the reset gate of a GRU acts before or after the
    hidden-to-hidden matrix, `window` is the number of steps the gates of a QRNN see.
    """

    station: str
    name: str
    hidden: int
    recur: Call
    bidirectional: str = "none"
    shared: bool = False
    stateful: bool = False
    window: int = 1
    activation: str = "tanh"
    reset: str = "after"
    loc: Loc | None = None

    @property
    def gates(self) -> tuple[str, ...]:
        """Gates with an input of their own, in order; where they share one they are still listed."""
        return GATES[self.name]

    @property
    def recurrent_gates(self) -> tuple[str, ...]:
        """Gates with hidden-to-hidden weights, in order."""
        return RECURRENT_GATES[self.name]

    @property
    def directions(self) -> int:
        """1, or 2 for a cell that runs backwards in time as well."""
        return 1 if self.bidirectional == "none" else 2

    @property
    def concatenated(self) -> bool:
        """Whether the two directions lie side by side."""
        return self.bidirectional == "concat"

    @property
    def inputs(self) -> int:
        """Input matrices per direction and tap: one per gate, or one for all."""
        return 1 if self.shared else len(self.gates)

    @property
    def copies(self) -> int:
        """Weights that each path or pair of units of a line into the cell carries."""
        return (2 if self.bidirectional == "sum" else 1) * self.window * self.inputs

    @property
    def bias_copies(self) -> int:
        """Numbers that the bias of each unit has."""
        return (2 if self.bidirectional == "sum" else 1) * self.inputs

    @property
    def states(self) -> int:
        """Vectors that are handed on from step to step."""
        return STATES.get(self.name, 1)

    def copy_of(self, direction: int, tap: int, gate: int) -> int:
        """Number of the copy that feeds a gate."""
        side = direction if self.bidirectional == "sum" else 0
        return (side * self.window + tap) * self.inputs + (0 if self.shared else gate)

    def bias_of(self, direction: int, gate: int) -> int:
        """Number of the bias that a gate adds."""
        side = direction if self.bidirectional == "sum" else 0
        return side * self.inputs + (0 if self.shared else gate)

    def tensor(self, direction: int, gate: str) -> str:
        """Name of the hidden-to-hidden weights of a gate."""
        return f"{self.station}.recurrent.{gate}{'.reverse' if direction else ''}"

    @property
    def tensors(self) -> tuple[str, ...]:
        """Names of all hidden-to-hidden weights, in order."""
        return tuple(self.tensor(d, gate) for d in range(self.directions) for gate in self.recurrent_gates)


def cell_stage(station: Station) -> Call | None:
    """The stage of a station that is a cell, as written."""
    return next((stage for stage in station.pipeline if stage.name in (*CELLS, "prernn")), None)


def is_recurrent(graph: Graph) -> bool:
    """Whether a graph runs over sequences."""
    return any(cell_stage(station) is not None for station in graph.stations)


def has_trained_layers(graph: Graph) -> bool:
    """Whether a graph has `prernn` stages, which name where the weights of trained layers are."""
    return any(station.stage("prernn") is not None for station in graph.stations)


@cache
def cell_of(station: Station) -> Cell | None:
    """The cell of a station, None without; `prernn` is read as the cell the layer becomes."""
    stage = cell_stage(plain(station))
    if stage is None:
        return None
    options = options_of(stage)
    both = str(options["bidirectional"])
    recur = options.get("recur", Call("diag" if stage.name in _ELEMENTWISE else "full"))
    window = options.get("window", 1)
    return Cell(
        station.name,
        stage.name,
        station.real_units // 2 if both == "concat" else station.real_units,
        recur if isinstance(recur, Call) else Call(str(recur)),
        both,
        options.get("gates") == Word("shared"),
        bool(options["stateful"]),
        window if isinstance(window, int) else 1,
        str(options.get("activation", "relu" if stage.name == "indrnn" else "tanh")),
        str(options.get("reset", "after")),
        station.loc,
    )


def plain(station: Station) -> Station:
    """The station with `prernn` replaced by the cell it stands for; a station without is returned as it is.

    A simple cell takes over the activation of the layer, gated cells have functions of their own instead; the reset
    gate acts before the hidden-to-hidden matrix, normalization and pools move in front of the
    recurrence (Yang, Molchanov and Kautz, 2018).
    """
    at = next((i for i, stage in enumerate(station.pipeline) if stage.name == "prernn"), None)
    if at is None:
        return station
    stage, behind = station.pipeline[at], station.pipeline[at + 1 :]
    options = options_of(stage)
    name = str(options["cell"])
    known = {option: options[option] for option in ("bidirectional", "stateful")}
    if name not in (*_ELEMENTWISE, "qrnn"):
        known["recur"] = options["recur"]
    if name in ("lstm", "gru", "ligru"):
        known["gates"] = options["gates"]
    if name == "gru":
        known["reset"] = Word("before")
    functions = [s for s in behind if s.name not in _INSIDE]
    pools = [s for s in behind if s.name in _INSIDE]
    if name == "rnn":
        known["activation"] = Word(functions[0].name if functions else "identity")
    cell = canonical(Call(name, tuple(known.items())))
    return replace(station, pipeline=(*station.pipeline[:at], *pools, cell, *functions[1:]))


def split_at_cell(station: Station) -> tuple[Station, Station]:
    """What stands in front of the cell of a station, convolution and pools included, and the flat station behind it.

    `prernn` is read as the cell the layer becomes.
    """
    written = plain(station)
    stage = cell_stage(written)
    assert stage is not None
    at = written.pipeline.index(stage)
    behind = replace(station, shape=station.shape[:1], pipeline=written.pipeline[at + 1 :])
    return replace(station, pipeline=written.pipeline[:at]), behind


def without_cells(graph: Graph, who: str) -> list[Diagnostic]:
    """E0376 for every recurrent cell, where `who` has none."""
    help = "the targets `reference`, `llvm`, `tvm-llvm` and `cuda` have recurrent cells, `engine` those without gates"
    return [
        Diagnostic("E0376", f"{who} no recurrent cell such as that of `{station.name}`", station.loc, help=help)
        for station in graph.stations if cell_stage(station) is not None
    ]  # fmt: skip


def misplaced(station: Station) -> Iterator[Diagnostic]:
    """What stands in the wrong place beside a cell: E0372 to E0374.

    In front of a cell there may be a bias, a convolution, a normalization, a shortcut and pools, behind it activations.
    A normalization behind it would be part of the recurrence, which it does not commute with: h no longer scales with
    its inputs.
    """
    stage = cell_stage(station)
    if stage is None:
        return
    at = station.pipeline.index(stage)
    for other in station.pipeline[:at]:
        entry = find(other.name)
        if entry is not None and entry.kind == "activation":
            text = f"`{other.name}` stands in front of the cell of `{station.name}`"
            help = "activations come behind the cell: `gru(...) | relu`"
            yield Diagnostic("E0372", text, station.loc, help=help)
    for other in station.pipeline[at + 1 :]:
        entry = find(other.name)
        if other.name == "bias":
            help = f"write `bias | {stage.name}(...)`"
            yield Diagnostic("E0372", f"the bias of `{station.name}` stands behind its cell", station.loc, help=help)
        elif other.name in (*POOLS, "shortcut", "steps") and not (other.name in _INSIDE and stage.name == "prernn"):
            text = f"`{other.name}` stands behind the cell of `{station.name}`, which holds one number for each unit"
            help = f"write `{other.name} | {stage.name}(...)`"
            if other.name == "steps":
                help = "a cell runs over steps: lead a station with `steps` into it"
            yield Diagnostic("E0372", text, station.loc, help=help)
        elif entry is not None and entry.kind == "norm" and stage.name != "prernn":
            text = (
                f"`{other.name}` stands behind the cell of `{station.name}`, where the recurrence would pass through it"
            )
            help = f"normalize what enters, `{other.name} | {stage.name}(...)`, or in a station of its own"
            yield Diagnostic("E0373", text, station.loc, help=help)
    options = options_of(stage)
    both = options["bidirectional"] != Word("none")
    if options["stateful"] and (both or options.get("window", 1) != 1):
        why = "runs backwards in time" if both else "looks back several steps"
        help = "drop `stateful`, or use a cell that runs forwards and keeps its state only"
        yield Diagnostic("E0374", f"the cell of `{station.name}` is stateful and {why}", station.loc, help=help)
    inside = next((s.name for s in plain(station).pipeline if s.name in _INSIDE), "")
    if inside and options.get("window", 1) != 1:
        text = f"the cell of `{station.name}` adds up several steps behind `{inside}`"
        yield Diagnostic("E0374", text, station.loc, help=f"put `{inside}` into a station in front of this one")
    if station.stage("shortcut") is not None and str(options.get("cell", stage.name)) == "sru":
        text = f"`{station.name}` is an sru, whose highway is what skips bring, and has a `shortcut`"
        yield Diagnostic("E0374", text, station.loc, help="leave `shortcut` out, or use another cell")
    if stage.name == "prernn" and str(options["cell"]) == "rnn":
        behind = [s for s in station.pipeline[at + 1 :] if s.name not in _INSIDE]
        if behind and behind[0].name not in ("tanh", "relu", "sigmoid", "identity"):
            text = f"a simple cell cannot take over the activation `{behind[0].name}` of `{station.name}`"
            yield Diagnostic("E0374", text, station.loc, help="use tanh, relu, sigmoid or identity")
