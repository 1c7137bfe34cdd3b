"""The table behind `pathc.ir.catalogue`: every word with its options, kinds of value and defaults."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pathc.ir.types import Call, Value, Word

Kind = Literal[
    "activation", "bias", "conv", "norm", "pool", "cell", "recurrence", "rearrange", "ode", "generator", "sign"
]
"""What an entry is for. Stages of a pipeline are all kinds but `recurrence`, `generator` and `sign`."""

Accepts = Literal["int", "float", "bool", "word", "size", "percent", "text", "recurrence"]
"""What an option may be; `recurrence` is a word of that kind with its own options."""

STAGE_KINDS: tuple[Kind, ...] = ("activation", "bias", "conv", "norm", "pool", "cell", "rearrange", "ode")

BACKENDS = ("reference", "llvm", "tvm-llvm", "cuda", "engine", "gemmini")
"""Names that may stand behind the colon of a `target` block."""

MAX_UNITS = 1 << 31
"""Most units a station may have, extents multiplied out."""

MAX_PATHS = 1 << 40
"""Most paths a line may have."""

MAX_DIMENSION = (1 << 16) - 1
"""Largest generator dimension that can be written; a generator may have fewer and then says so."""

MAX_SEED = (1 << 64) - 1
"""Largest seed."""


@dataclass(frozen=True)
class Option:
    """One option of a word: name, accepted kinds of value, default, one line of documentation.

    An option without default must be given. `positional` options may be written without their name, in the
    order of the table. `choices` are the words it takes; `low` and `high` bound its numbers, both inclusive.
    """

    name: str
    accepts: tuple[Accepts, ...]
    default: Value | None
    doc: str
    choices: tuple[str, ...] = ()
    low: float | None = None
    high: float | None = None
    positional: bool = False

    @property
    def required(self) -> bool:
        """True if the option must be given."""
        return self.default is None


@dataclass(frozen=True)
class Entry:
    """A word of the vocabulary with its options, in the order in which canonical text gives them."""

    name: str
    kind: Kind
    doc: str
    options: tuple[Option, ...] = ()

    def option(self, name: str) -> Option | None:
        """The option of that name, if there is one."""
        return next((option for option in self.options if option.name == name), None)


def _seed(default: int = 0) -> Option:
    return Option("seed", ("int",), default, "seed of the pseudo-random numbers", low=0, high=MAX_SEED)


def _choice(name: str, choices: tuple[str, ...], default: str | None, doc: str) -> Option:
    return Option(name, ("word",), None if default is None else Word(default), doc, choices)


def _flag(name: str, doc: str) -> Option:
    return Option(name, ("bool",), False, doc)


def _recur(default: str) -> Option:
    return Option("recur", ("recurrence",), Call(default), "structure of the hidden-to-hidden matrix")


_GATES = _choice("gates", ("separate", "shared"), "separate", "input weights of the gates: own ones or one for all")
_BIDIRECTIONAL = _choice(
    "bidirectional", ("none", "concat", "sum"), "none", "run backwards in time as well, results concatenated or summed"
)
_STATEFUL = _flag("stateful", "keep the state from one sequence to the next")
_CELL_COMMON = (_BIDIRECTIONAL, _STATEFUL)

CELLS = ("rnn", "lstm", "gru", "ligru", "qrnn", "sru", "indrnn", "linear")
"""Names of the recurrent cells."""

INTERLEAVERS = ("basic", "sv", "ss", "md", "sv+ss", "ss+md", "sv+md", "sv+ss+md", "type1", "type2", "type3")
"""Kinds of clash-free interleavers."""

_ACTIVATIONS = (
    Entry("identity", "activation", "the value itself"),
    Entry("relu", "activation", "max(0, x)"),
    Entry(
        "leaky",
        "activation",
        "x where positive, slope * x elsewhere",
        (Option("slope", ("float",), 0.01, "factor of negative values", positional=True),),
    ),
    Entry("abs", "activation", "absolute value"),
    Entry("tanh", "activation", "hyperbolic tangent"),
    Entry("sigmoid", "activation", "1 / (1 + exp(-x))"),
    Entry(
        "hardtanh",
        "activation",
        "x clamped to [low, high]",
        (
            Option("low", ("float",), -1.0, "lower bound", positional=True),
            Option("high", ("float",), 1.0, "upper bound", positional=True),
        ),
    ),
    Entry("softmax", "activation", "exponentials that sum to one over the units of the station"),
    Entry(
        "kwinners",
        "activation",
        "the k largest values are kept, the others become zero",
        (Option("k", ("int",), None, "number of values kept", low=1, high=MAX_UNITS, positional=True),),
    ),
)

_PLAIN_STAGES = (
    Entry("bias", "bias", "one trainable number per unit is added"),
    Entry(
        "conv",
        "conv",
        "each step of a path that enters the station carries one filter, shared by all positions",
        (
            Option("kernel", ("size", "int"), None, "extents of the filter", low=1, high=1 << 12, positional=True),
            Option("stride", ("int", "size"), 1, "step between two positions", low=1, high=1 << 12),
            Option(
                "pad",
                ("word", "int", "size"),
                Word("valid"),
                "zeros around the input: none, as many as keep the extents at stride 1, or a number",
                ("valid", "same"),
                low=0,
                high=1 << 12,
            ),
            Option("dilation", ("int", "size"), 1, "distance of neighbouring taps", low=1, high=1 << 12),
            Option("groups", ("int",), 1, "independent groups of channels in a dense line", low=1, high=MAX_UNITS),
            _flag("causal", "pad only in front, so that no output sees a later input (one extent only)"),
        ),
    ),
    Entry(
        "batchnorm",
        "norm",
        "normalization by the statistics of the batch, folded into the weights for inference",
        (
            Option("eps", ("float",), 1e-5, "added to the variance", low=0.0),
            Option(
                "momentum", ("float",), 0.1, "weight of the newest batch in the running statistics", low=0.0, high=1.0
            ),
        ),
    ),
)


def _pool(name: str, doc: str, *more: Option) -> Entry:
    window = Option(
        "window", ("size", "int", "word"), None, "extents of the window, or the whole extents", ("global",),
        low=1, high=1 << 12, positional=True,
    )  # fmt: skip
    stride = Option(
        "stride", ("word", "int", "size"), Word("window"), "step between two windows", ("window",), low=1, high=1 << 12
    )
    return Entry(name, "pool", doc, (window, stride, *more))


_POOLS = (
    _pool("maxpool", "largest value of each window"),
    _pool("avgpool", "mean of each window"),
    _pool(
        "pick",
        "one value of each window",
        Option("tap", ("int",), 0, "which one, counted row by row from 0", low=0, high=1 << 24),
    ),
)

_CELLS = (
    Entry(
        "rnn",
        "cell",
        "simple recurrent cell (Elman)",
        (
            _recur("full"),
            _choice("activation", ("tanh", "relu", "sigmoid", "identity"), "tanh", "function of the new state"),
            *_CELL_COMMON,
        ),
    ),
    Entry("lstm", "cell", "long short-term memory, four gates", (_recur("full"), _GATES, *_CELL_COMMON)),
    Entry(
        "gru",
        "cell",
        "gated recurrent unit, three gates",
        (
            _recur("full"),
            _GATES,
            _choice("reset", ("after", "before"), "after", "side of the recurrent matrix the reset gate acts on"),
            *_CELL_COMMON,
        ),
    ),
    Entry("ligru", "cell", "light GRU, two gates and ReLU", (_recur("full"), _GATES, *_CELL_COMMON)),
    Entry(
        "qrnn",
        "cell",
        "quasi-recurrent cell: gates from a causal convolution over time, elementwise recurrence",
        (Option("window", ("int",), 1, "steps seen by the gates", low=1, high=1 << 12), *_CELL_COMMON),
    ),
    Entry("sru", "cell", "simple recurrent unit: elementwise recurrence with a highway", _CELL_COMMON),
    Entry("indrnn", "cell", "independently recurrent cell: elementwise recurrence, ReLU", _CELL_COMMON),
    Entry("linear", "cell", "linear recurrence, a filter of infinite response", (_recur("diag"), *_CELL_COMMON)),
    Entry(
        "prernn",
        "cell",
        "a trained feed-forward layer made recurrent, keeping its weights",
        (
            _choice("cell", CELLS, None, "cell the layer becomes"),
            _recur("full"),
            _GATES,
            Option("init", ("text",), "", "file with the weights of the feed-forward layer"),
            *_CELL_COMMON,
        ),
    ),
)

_RECURRENCES = (
    Entry("full", "recurrence", "every unit sees every unit"),
    Entry(
        "grouped",
        "recurrence",
        "independent groups of equal size, full inside",
        (
            Option(
                "groups", ("int",), None, "number of groups; divides the units", low=1, high=MAX_UNITS, positional=True
            ),
        ),
    ),
    Entry(
        "band",
        "recurrence",
        "each unit sees itself and its neighbours, clipped at the edges",
        (
            Option(
                "width",
                ("int", "percent"),
                None,
                "units seen, an odd number, or a share of the units",
                low=1,
                high=MAX_UNITS,
                positional=True,
            ),
        ),
    ),
    Entry(
        "ring",
        "recurrence",
        "as band, but wrapped around at the edges",
        (Option("width", ("int",), None, "units seen, an odd number", low=1, high=MAX_UNITS, positional=True),),
    ),
    Entry("diag", "recurrence", "each unit sees itself only"),
    Entry(
        "sparse",
        "recurrence",
        "pseudo-random mask",
        (Option("density", ("percent",), None, "share of weights that exist", positional=True), _seed()),
    ),
    Entry(
        "mask",
        "recurrence",
        "block mask from a file",
        (
            Option("file", ("text",), None, "array of zeros and ones, one per block (.npz)", positional=True),
            Option("block", ("int",), 1, "units on the side of a block", low=1, high=1 << 20),
        ),
    ),
    Entry(
        "paths",
        "recurrence",
        "a junction drawn by paths, from the units to themselves",
        (
            Option("count", ("int",), None, "number of paths", low=1, high=MAX_PATHS, positional=True),
            Option("source", ("int",), 0, "dimension that picks the unit read", low=0, high=MAX_DIMENSION),
            Option("destination", ("int",), 1, "dimension that picks the unit written", low=0, high=MAX_DIMENSION),
        ),
    ),
)

_REARRANGEMENTS = (
    Entry("concat", "rearrange", "lines into the station are set side by side instead of added"),
    Entry("shortcut", "rearrange", "what skips bring is added here, not in front of the stages before it"),
    Entry("steps", "rearrange", "the last extent becomes time: a sequence with one step for each of its positions"),
    Entry(
        "channelshuffle",
        "rearrange",
        "channels of the groups are interleaved",
        (
            Option(
                "groups", ("int",), None, "number of groups; divides the units", low=1, high=MAX_UNITS, positional=True
            ),
        ),
    ),
)

_ODE = Entry(
    "ode",
    "ode",
    "the lines into the station are the right-hand side of a differential equation, integrated over time",
    (
        _choice("solver", ("euler", "rk2", "rk4"), "euler", "integration rule"),
        Option("step", ("float",), 1.0, "step size"),
        Option("steps", ("int",), 1, "number of steps, all with the same weights", low=1, high=1 << 20),
    ),
)

_GENERATORS = (
    Entry(
        "sobol",
        "generator",
        "the Sobol' sequence, direction numbers of Joe and Kuo",
        (
            _choice("scramble", ("none", "shift", "lms", "owen"), "none", "scrambling of the points"),
            _seed(),
            Option("skip", ("int",), 0, "points left out in front", low=0, high=MAX_PATHS),
        ),
    ),
    Entry("random", "generator", "pseudo-random units, a stream per dimension", (_seed(),)),
    Entry(
        "interleaver",
        "generator",
        "a clash-free interleaver of z memories",
        (
            _choice("kind", INTERLEAVERS, "basic", "family of interleavers, or a combination such as ss+md"),
            Option("z", ("int",), None, "weights read in a cycle", low=1, high=1 << 20),
            _seed(),
            _flag("dither", "permute the memories as well (types 1 to 3)"),
        ),
    ),
    Entry("shuffle", "generator", "the perfect shuffle"),
    Entry("expander", "generator", "a random regular bipartite graph per junction", (_seed(),)),
    Entry(
        "explicit",
        "generator",
        "units read from a file",
        (Option("file", ("text",), None, "array of units per visit (.npz)", positional=True),),
    ),
)

_SIGNS = (
    Entry("hadamard", "sign", "rows of a Hadamard matrix inside dense blocks, balanced elsewhere"),
    Entry("halves", "sign", "plus for the first half of the paths, minus for the second"),
    Entry(
        "bit",
        "sign",
        "bit m of the path index",
        (Option("m", ("int",), None, "number of the bit, from 0", low=0, high=39, positional=True),),
    ),
    Entry("parity", "sign", "parity of the path index"),
    Entry(
        "dim",
        "sign",
        "halves of a spare dimension of the sequence",
        (Option("k", ("int",), None, "dimension", low=0, high=MAX_DIMENSION, positional=True),),
    ),
    Entry("positive", "sign", "all plus"),
    Entry("random", "sign", "pseudo-random", (_seed(),)),
)

CATALOGUE: tuple[Entry, ...] = (
    *_ACTIVATIONS, *_PLAIN_STAGES, *_POOLS, *_CELLS, *_RECURRENCES, *_REARRANGEMENTS, _ODE, *_GENERATORS, *_SIGNS,
)  # fmt: skip
"""Every entry. Words that two kinds share (`random`) have the same options in both."""
