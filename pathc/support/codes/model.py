"""Codes E02xx and W02xx, what a .path file says."""

from __future__ import annotations

from pathc.support.codes.base import Code

_HEAD = "input x[64]\nlayer h[64] : relu\noutput y[8]\n"
_MAIN = "paths main : x -> h -> y { count = 256 }\n"

CODES: tuple[Code, ...] = (
    Code(
        "E0201",
        "unknown station",
        "A line visits a station that is not declared. Stations are declared by `input`, `layer` and "
        "`output`, anywhere in the file.",
        _HEAD + "paths main : x -> g -> y { count = 256 }\n",
    ),
    Code(
        "E0202",
        "declared twice",
        "Stations, lines, targets and `let`s each have names of their own; within one of these kinds a name "
        "stands for one thing. A model has one name, and a target may not be called as a backend is.",
        _HEAD + "layer h[32]\n" + _MAIN,
    ),
    Code(
        "E0203",
        "dimension missing",
        "A visit `h@2` takes dimension 2 of the sequence to pick the unit. Either all visits of a line name "
        "their dimension or none does; then the dimension is the position in the chain.",
        _HEAD + "paths main : x@0 -> h@1 -> y { count = 256 }\n",
    ),
    Code(
        "E0204",
        "count missing",
        "The number of paths has no default: it decides size, speed and accuracy of the net, and is the "
        "number an experiment is about.",
        _HEAD + "paths main : x -> h -> y\n",
    ),
    Code(
        "E0205",
        "unknown attribute or option",
        "Only the attributes and options of the language are known; a misspelt one must not be ignored. "
        "docs/language.md lists them.",
        _HEAD + "paths main : x -> h -> y { cuont = 256 }\n",
    ),
    Code(
        "E0206",
        "given twice",
        "An attribute or option may be given once.",
        _HEAD + "paths main : x -> h -> y { count = 256, count = 512 }\n",
    ),
    Code(
        "E0207",
        "option missing",
        "This option has no default and must be given.",
        "input x[64]\noutput y[8] : kwinners\npaths main : x -> y { count = 64 }\n",
    ),
    Code(
        "E0208",
        "wrong kind of value",
        "The value is of another kind than this place takes: a text for a number, a fraction for a number of "
        "units, a size in arithmetic.",
        "input x[64.5]\noutput y[8]\npaths main : x -> y { count = 64 }\n",
    ),
    Code(
        "E0209",
        "value out of range",
        "The value is of the right kind but outside its bounds: stations have 1 to 2^31 units, lines 1 to "
        "2^40 paths, dimensions are counted from 0, percentages lie above 0 and not above 100.",
        "input x[0]\noutput y[8]\npaths main : x -> y { count = 64 }\n",
    ),
    Code(
        "E0210",
        "unknown number",
        "An expression uses a name that no `let` above defines, or a function that does not exist. There are "
        "min, max, ceil_div and pow2_ceil.",
        _HEAD + "paths main : x -> h -> y { count = P }\n",
    ),
    Code(
        "E0211",
        "division that is not exact",
        "`/` between integers must leave no remainder, because a silently rounded size or count is a mistake "
        "that shows late. ceil_div rounds up.",
        "let P = 4097 / 2\n" + _HEAD + _MAIN,
    ),
    Code(
        "E0212",
        "result out of bounds",
        "The result of an expression is beyond 2^64 - 1, or beyond the range of float64.",
        "let P = 1_000_000Ti * 1_000_000Ti\n" + _HEAD + _MAIN,
    ),
    Code(
        "E0213",
        "unknown word of the vocabulary",
        "The pipeline of a station, a sequence, a sign rule or a recurrence names a word that does not exist.",
        "input x[64]\noutput y[8] : rleu\npaths main : x -> y { count = 64 }\n",
    ),
    Code(
        "E0214",
        "unknown choice",
        "This option takes one of a few words; the one given is none of them.",
        _HEAD + "paths main : x -> h -> y { count = 256, scramble = owne }\n",
    ),
    Code(
        "E0215",
        "files that use each other",
        "`use` goes round in a circle; the message prints the chain.",
    ),
    Code(
        "E0216",
        "used file cannot be read",
        "The path of a used file is relative to the file that uses it. The note says why it could not be read.",
        'use "no such file.path"\n' + _HEAD + _MAIN,
    ),
    Code(
        "E0217",
        "more than numbers and targets in a used file",
        "`use` brings in `let` and `target` only, so that a model stands in one file and can be read as a whole.",
    ),
    Code(
        "E0219",
        "no input or no output",
        "A model needs at least one input, where values come in, and one output, where they go out.",
        "input x[64]\nlayer h[64]\npaths main : x -> h { count = 256 }\n",
    ),
    Code(
        "E0220",
        "circle of stations",
        "Lines lead from inputs to outputs without a circle. Recurrence over time belongs into a cell: `layer "
        "h[64] : rnn(recur = full)`.",
        _HEAD + "layer g[64]\n" + _MAIN + "paths there : h -> g { count = 64 }\npaths back : g -> h { count = 64 }\n",
    ),
    Code(
        "E0221",
        "line into an input",
        "The values of an input come from outside; a line may start there but not enter.",
        "input x[64]\ninput z[64]\noutput y[8]\npaths main : x -> y { count = 64 }\nskip more : x -> z\n",
    ),
    Code(
        "E0222",
        "chain too short or too long",
        "A line joins at least two stations; a skip exactly two.",
        _HEAD + _MAIN + "paths alone : h { count = 64 }\n",
    ),
    Code(
        "E0223",
        "nothing to mirror",
        "`mirror` names a line of the same kind that stands above and is no mirror itself.",
        _HEAD + _MAIN + "dense back : h -> y { mirror = main }\n",
    ),
    Code(
        "E0224",
        "mirror image does not fit",
        "A mirrored line visits as many stations as the line it mirrors, with the same numbers of units in "
        "reverse order.",
        "input x[64]\nlayer h[64]\noutput y[32]\n"
        "paths main : x -> h { count = 64 }\npaths back : h -> y { mirror = main }\n",
    ),
    Code(
        "E0225",
        "attribute that comes from the mirrored line",
        "Count, sequence and dimensions of a mirrored line are those of the line it mirrors and cannot be given again.",
        "input x[64]\nlayer h[64]\noutput y[64]\n"
        "paths main : x -> h { count = 64 }\npaths back : h -> y { mirror = main, count = 64 }\n",
    ),
    Code(
        "E0226",
        "tied to nothing",
        "`weights = tied` shares the weights of the mirrored line, so it needs `mirror`.",
        _HEAD + "paths main : x -> h -> y { count = 256, weights = tied }\n",
    ),
    Code(
        "E0227",
        "attribute that does not apply",
        "The attribute exists, but not for this kind of line or this generator: a `dense` line has no count, "
        "an interleaver no scrambling.",
        _HEAD + _MAIN + "skip s : x -> h { count = 64 }\n",
    ),
    Code(
        "E0228",
        "override of nothing",
        "`--set NAME=VALUE` changes a `let` of the main file; there is none of that name.",
    ),
    Code(
        "E0229",
        "station that no line reaches",
        "An output without an incoming line would always be zero, and so would be what a line reads from such a layer.",
        _HEAD + "paths main : x -> h { count = 256 }\n",
    ),
    Code(
        "E0230",
        "pipeline in the wrong order",
        "A pipeline starts with the type, then `conv`; it has at most one convolution, one cell and one bias, "
        "and an input has none of what needs incoming lines.",
        "input x[64] : relu | f32\noutput y[8]\npaths main : x -> y { count = 64 }\n",
    ),
    Code(
        "E0231",
        "extents that do not meet",
        "Convolutions and pools run over the extents of a station (height and width, or length). The extents "
        "that arrive must exist, have the rank of the filter, and be the same on all lines.",
        "input x[64]\nlayer c[8] : conv(3x3)\noutput y[8]\npaths main : x -> c { count = 64 }\ndense head : c -> y\n",
    ),
    Code(
        "E0232",
        "structure that does not fit the units",
        "Groups divide the units, a band or ring has an odd width not wider than the layer, and a "
        "bidirectional cell that concatenates needs an even number of units.",
        "input x[64]\nlayer h[64] : gru(recur = grouped(5))\noutput y[8]\npaths main : x -> h -> y { count = 64 }\n",
    ),
    Code(
        "E0233",
        "version of the language",
        "`pathc 1` stands first in the file, once, and names a version this compiler reads.",
        "pathc 9\n" + _HEAD + _MAIN,
    ),
    Code(
        "E0235",
        "unknown backend",
        "A `target` block names the backend it configures.",
        _HEAD + _MAIN + "target chip : engin { lanes = 16 }\n",
    ),
    Code(
        "E0236",
        "channels into a flat station",
        "Paths between stations with extents choose channels, and each step carries a filter. A station "
        "without extents is reached by a dense line, or after `avgpool(global)`.",
        "input x[3, 8x8]\noutput y[8]\npaths main : x -> y { count = 64 }\n",
    ),
    Code(
        "E0237",
        "skip between different shapes",
        "A skip adds what one station holds to another, unit by unit, so both have one shape; `concat` on the "
        "destination sets them side by side instead.",
        _HEAD + _MAIN + "skip s : h -> y\n",
    ),
    Code(
        "E0239",
        "axes that do not make up the station",
        "A visit with axes, `x@(0:28, 1:28)`, picks every coordinate of a unit by a dimension of its own, so the sizes "
        "behind the colons multiply to the units of the station, silent ones of `pad` included.",
        "input x[784]\noutput y[8]\npaths main : x@(0:28, 1:27) -> y@2 { count = 64 }\n",
    ),
    Code(
        "W0201",
        "seed without effect",
        "A seed is given, but the sequence is not scrambled, so nothing depends on it.",
        _HEAD + "paths main : x -> h -> y { count = 256, seed = 3 }\n",
    ),
)
