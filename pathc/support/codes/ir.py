"""Codes E03xx, W03xx and E04xx, the graph, its passes and its text."""

from __future__ import annotations

from pathc.support.codes.base import Code

GENERATOR_CODES: tuple[Code, ...] = (
    Code(
        "E0340",
        "unknown path generator",
        "Paths are drawn by `sobol`, `random`, `interleaver`, `shuffle`, `expander` or `explicit`.",
        "paths main : x -> y { count = 8, sequence = sobul }",
    ),
    Code(
        "E0341",
        "more paths or units than the generator can count",
        "A layer has 1 to 2^32 units and a line 1 to 2^62 paths. Generators that keep a permutation of all paths in "
        "memory (interleaver, expander, explicit) stop at 2^24; sobol, random and shuffle do not keep any.",
    ),
    Code(
        "E0342",
        "window outside the paths",
        "Paths are handed out in windows [start, stop) inside 0 .. count of at most 2^30 paths each.",
    ),
    Code(
        "E0343",
        "path count does not fit the layer sizes",
        "Interleavers and expanders give every unit of a layer the same number of paths, so the count is a multiple "
        "of every layer size; a perfect shuffle needs a power of two.",
    ),
    Code("E0344", "wrong option of a path generator", "The option has another type or none of the known values."),
    Code(
        "E0345",
        "Sobol' dimension outside the table",
        "Direction numbers ship for a fixed number of dimensions (Joe and Kuo, D(6)); `@d` chooses among them.",
    ),
    Code(
        "E0346",
        "interleaver and memory banks do not fit",
        "The p left units of a junction lie in z memories of equal depth, so z divides p, and each memory has at least "
        "two rows (Dey, Beerel, Chugg).",
    ),
    Code(
        "E0347",
        "file of explicit paths cannot be used",
        "An .npz file holds the units as an integer array `units` of shape [visits, paths], or as `visit0`, `visit1`, "
        "... of shape [paths], every value inside its layer.",
    ),
    Code(
        "E0348",
        "mirrored line does not fit the line it mirrors",
        "A mirrored line walks the paths of another line backwards: it has as many visits and the same layer sizes in "
        "reverse.",
    ),
    Code(
        "E0349",
        "axes of a generator that picks whole units",
        "`x@(0:28, 1:28)` picks the row of a unit by dimension 0 and its column by dimension 1. Sobol' and random "
        "sequences have a number for every dimension; interleavers, shuffles, expanders and files name whole units.",
    ),
)
"""Raised by pathc.ir.generators."""

PASS_CODES: tuple[Code, ...] = (
    Code("E0320", "unknown pass", "A pipeline names passes; `pathc explain passes` lists them with their options."),
    Code("E0321", "unknown option of a pass", "Options of a pass are the fields that `pathc explain passes` shows."),
    Code("E0322", "wrong value of a pass option", "The value has the type of the option's default."),
    Code(
        "E0323",
        "pipeline cannot be read",
        "A pipeline is a list of passes `name` or `name{k=v,...}`, separated by commas.",
    ),
    Code(
        "E0324",
        "unknown sign rule",
        "Signs of initial weights follow `hadamard`, `halves`, `bit(m)`, `parity`, `dim(k)`, `positive` or `random`.",
    ),
)
"""Raised by pathc.ir.passes, pathc.ir.signs."""

LINT_CODES: tuple[Code, ...] = (
    Code(
        "W0301",
        "a line carries no farther",
        "After this junction a unit sees no more inputs than before, although it could: the dimensions repeat what an "
        "earlier junction did. Dimensions that alternate make the net fall apart into independent pieces. Stations "
        "whose axes share dimensions stay near each other: their units hear more where places get fewer, "
        "`h@(0:4, 1:4, 2:64) -> g@(0:2, 1:2, 3:64)`, or from a station with dimensions of its own on.",
        "paths main : x@0 -> a@1 -> b@0 -> y@1 { count = 1024 }",
    ),
    Code(
        "W0302",
        "every edge is drawn several times",
        "The two dimensions are not independent at this resolution: several paths share each edge, so weights are "
        "spent without adding connections.",
        "paths main : x@2 -> y@3 { count = 1024 }      # both of 32 units",
    ),
    Code(
        "W0303",
        "count is no multiple of the layer",
        "Aligned blocks of paths visit each unit of a power-of-two layer once; a count that is no multiple of it gives "
        "some units one path more, and splits the paths into several windows.",
    ),
    Code(
        "W0304",
        "skip breaks the dense blocks",
        "Blocks start at multiples of the power of two from the count up. A skip that is no multiple of it shifts the "
        "paths across block borders, and kernels fall back to index arrays.",
    ),
    Code(
        "W0305",
        "size just off a power of two",
        "Only layers of 2^m units have dense blocks with computed addresses; a size next to one gives them up for a "
        "few units. `pad = pow2` adds silent units.",
    ),
    Code("W0306", "unused station", "No line leads to the station, or none leads on from it."),
    Code(
        "W0307",
        "unbalanced signs",
        "The rule gives most weights of a unit the same sign, so units start saturated or dead. The parity of the path "
        "index does so in dimension 0, whose top bit it is.",
    ),
    Code(
        "W0308",
        "signs tie the units of a block",
        "All destinations of a dense block hear the same sources. With constant magnitude and a sign that is linear in "
        "the path index their weights are equal or opposite, and training keeps them so.",
    ),
    Code("W0309", "units on no path", "Too few paths, or paths drawn at random, leave units without any weight."),
    Code(
        "W0310",
        "too large to judge",
        "Paths that are not linear over GF(2) are enumerated to find repeated edges, coverage and mixing; beyond a "
        "bound this is left out.",
    ),
)
"""Given by pathc.ir.passes.lint."""

SCHEDULE_CODES: tuple[Code, ...] = (
    Code(
        "E0350",
        "number of lanes or banks out of range",
        "A schedule has 1 to 65536 lanes, a layer 1 to 65536 banks.",
    ),
    Code(
        "E0351",
        "unknown order of paths",
        "`interleave` knows the orders blocks, stall and colour, and the interleavers basic, sv, ss, md and their "
        "sums, type1, type2, type3.",
    ),
    Code(
        "E0352",
        "unknown bank map, or masks that make none",
        "`bank` knows the maps high, low, bank-major and custom; custom takes one mask for each bit of the bank, "
        "none of them the XOR of others: bank{banks=4,map=custom,masks=8+1}.",
    ),
    Code(
        "E0353",
        "the paths are not drawn by this interleaver",
        "An interleaver decides which units are joined, not only when. Lines drawn another way keep their paths under "
        "the orders blocks, stall and colour; with redraw = true the interleaver draws other paths instead.",
        "paths main : x -> y { count = 256, sequence = interleaver(kind = ss+md, z = 16) }",
    ),
    Code(
        "E0354",
        "z does not fit the fan-in",
        "The z weights of a cycle belong to whole right units, or a right unit takes whole cycles: z is a multiple of "
        "the fan-in, or the fan-in a multiple of z.",
    ),
    Code(
        "E0355",
        "the next junction has too few memories",
        "A junction finishes ceil(z / fan-in) units a cycle; the next one needs as many memories to put them in: "
        "z of the next junction is at least that.",
    ),
    Code(
        "E0356",
        "too long for a list of cycles",
        "A schedule that is written out has at most 2^24 paths and 2^26 cycles times lanes. Layers, banks and lanes of "
        "powers of two need no list: Sobol' blocks are kept as a rule.",
    ),
    Code(
        "E0357",
        "no schedule",
        "A schedule is an array [cycles, lanes] of path numbers, -1 for an idle lane, with the units that every path "
        "joins and their banks. Files of schedules are written by `save_schedule`.",
    ),
    Code(
        "E0358",
        "no paths of that name",
        "Options `line` and `station` of passes name a line of paths and a station that paths visit.",
    ),
    Code(
        "W0350",
        "banks are asked twice in a cycle",
        "Lanes that find their bank taken wait. Aligned blocks of Sobol' paths through layers of 2^m units never do so "
        "if the bank is the top bits of the unit; edge colouring serves all other paths in the fewest cycles.",
    ),
)
"""Raised by pathc.ir.schedule, pathc.ir.passes.bank and pathc.ir.passes.interleave."""

CODES: tuple[Code, ...] = (*GENERATOR_CODES, *PASS_CODES, *LINT_CODES, *SCHEDULE_CODES)
