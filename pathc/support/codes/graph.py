"""Codes E0301 to E0314 and E04xx, what must hold of a graph, and its text."""

from __future__ import annotations

from pathc.support.codes.base import Code

GRAPH_CODES: tuple[Code, ...] = (
    Code(
        "E0301",
        "names of the graph clash or are no words",
        "Stations, lines and targets have names of letters, digits and `_`, each name once among its kind.",
        "pir 1\ngraph g {\n  %x : f32[4] = input\n  %x : f32[4] = output\n}",
    ),
    Code(
        "E0302",
        "a name that nothing has",
        "A line visits a station, mirrors a line, or a fact speaks of one that the graph does not contain.",
        "pir 1\ngraph g {\n  %x : f32[4] = input\n  $main = paths %x@0 -> %y@1 { count = 4 }\n}",
    ),
    Code(
        "E0303",
        "the lines form a cycle",
        "Every line leads forwards. What must come back in time is a recurrent stage of a station.",
    ),
    Code(
        "E0304",
        "a station without units",
        "Every extent of a station is at least one, and no more units are declared than it has with its padding.",
    ),
    Code(
        "E0305",
        "a line in an impossible place",
        "A line has at least two visits and never leads into an input station.",
    ),
    Code(
        "E0306",
        "a count that does not suit the line",
        "A line of paths has at least one path. Dense lines and skips have no count.",
    ),
    Code(
        "E0307",
        "a skip between stations of different sizes",
        "A skip hands every unit on to the unit of the same number, so the sizes are equal, and its scale is finite.",
    ),
    Code(
        "E0308",
        "a mirror that does not fit",
        "A mirrored line walks another line of the same kind backwards, which is no mirror itself and has the same "
        "sizes in reverse. Only a mirrored line can share weights.",
    ),
    Code(
        "E0309",
        "a fact about something that is not there",
        "A fact names a junction or visit beyond the ends of its line.",
    ),
    Code(
        "E0310",
        "a fact that contradicts the graph",
        "The numbers of a fact do not fit the sizes and counts of what it is about, or its dense blocks are not those "
        "that the paths form. Facts belong to the graph they were found for; run the passes again after a change.",
    ),
    Code("E0311", "a graph without input or output", "A model has at least one input and one output station."),
    Code(
        "E0312",
        "a stage, generator or sign rule that does not exist",
        "The words of a pipeline and of a line come from the vocabulary that `pathc explain` lists.",
    ),
    Code(
        "E0313",
        "a wrong option",
        "An option of a stage, generator or sign rule is unknown, missing, of another type or out of range.",
    ),
    Code("E0314", "a visit with an impossible dimension", "Dimensions of a generator count from 0."),
    Code(
        "E0316",
        "axes that do not make up a station",
        "The sizes of the axes of a visit, `%x@(0:28, 1:28)`, multiply to the units of its station, silent ones of "
        "`pad` included.",
    ),
    Code(
        "E0315",
        "stations that do not meet",
        "Filters and pools run over the extents of a station, and what they give is the extents of the next one. "
        "`groups` of a convolution are for dense lines and divide the channels of both ends. Skips into `concat` bring "
        "all its channels between them. An equation (`ode`) begins at the one station that its lines lead from, which "
        "has its shape. Normalization is applied once in a pipeline; a `shortcut` adds what skips bring to what other "
        "lines bring. A cell has one number for each unit, so that pools leave one position in front of it. `steps` "
        "comes last, at a station with extents; what it leads to sees single steps, all of them equally many, and no "
        "station sees steps and whole samples.",
    ),
    Code(
        "E0379",
        "no extents here",
        "Not every target and pass knows stations with extents, convolutions, pools, batch normalization, `concat`, "
        "`channelshuffle`, `shortcut`, `steps` and `ode`, or a `scale` of lines that have weights. `reference` "
        "computes all of them, `llvm` compiles them, `tvm-llvm` and `cuda` all but `steps` and `shortcut` of channels.",
    ),
    Code(
        "E0380",
        "tensors that a pass would have to name anew",
        "`maxpool-to-relu` puts stations between a pool and what reads it. A line of paths that passes through the "
        "station would be cut there, and its tensors would have other names; so would those of a normalization behind "
        "the pool; cells and shortcuts would have none. End the line at the station, and begin another one there; "
        "normalize in front of the pool, or give the pool a station of its own.",
    ),
    Code(
        "E0319",
        "internal error: a pass has made a wrong graph",
        "Every graph is verified after every pass. This is a mistake of pathc, whatever the model says.",
    ),
    Code(
        "E0329",
        "a stage that the pipeline does not have",
        "`--stop-after` and `--print-after` name a pass of the pipeline, the first stage, or `all`.",
    ),
)
"""Raised by pathc.ir.verify, pathc.ir.pipeline."""

TEXT_CODES: tuple[Code, ...] = (
    Code(
        "E0401",
        "something else must stand here",
        "A .pir text is read line by line; docs/ir.md gives its grammar.",
        "pir 1\ngraph g {\n  %x f32[4] = input\n}",
    ),
    Code(
        "E0402",
        "no .pir text, or one of another version",
        "The first line is `pir 1`. Texts of other versions are written again from the .path file.",
        "graph g {\n}",
    ),
    Code(
        "E0403",
        "the text ends too early",
        "The closing brace of the graph, or the rest of a line, is missing. The file was probably cut off.",
        "pir 1\ngraph g {",
    ),
    Code(
        "E0404",
        "an unknown word",
        "Roles are input, layer and output; lines are paths, dense and skip; facts are those the passes add.",
        "pir 1\ngraph g {\n  %x : f32[4] = inptu\n}",
    ),
    Code(
        "E0405",
        "a value that cannot stand here",
        "The value has another type than its field, is out of range, or has too many digits.",
        "pir 1\ngraph g {\n  %x : f33[4] = input\n}",
    ),
    Code(
        "E0406",
        "a field is missing, unknown or given twice",
        "Options and fields are given once each; those of a fact without default must be given.",
        "pir 1\ngraph g {\n  distinct $main.1 { edges = 1, edges = 2 }\n}",
    ),
    Code(
        "E0407",
        "text behind the graph",
        "A .pir text holds one graph, and nothing but comments follows its closing brace.",
        "pir 1\ngraph g {\n}\ngraph h {\n}",
    ),
    Code("E0408", "nested too deeply", "Values inside values and lists inside lists go a few levels deep only."),
    Code("E0409", "text too long", "A .pir text holds no tensors, so 64 Mi characters are enough for every model."),
)
"""Raised by pathc.ir.text, pathc.ir.pipeline."""

CODES: tuple[Code, ...] = (*GRAPH_CODES, *TEXT_CODES)
