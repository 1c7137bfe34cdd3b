"""Makes the pages of the site that come from the program itself: passes, targets, words, codes, and the gallery."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

from pathc import handbook
from pathc.driver import Options
from pathc.gallery import picture
from pathc.ir.catalogue import CATALOGUE
from pathc.ir.types import show_value
from pathc.support.codes import catalogue
from pathc.support.source import Source

ROOT = Path(__file__).parent.parent
PICTURES = (
    (
        "digits",
        "svg",
        "canonical,structure",
        "A classifier of digits: bands show where the paths run, some of them how.",
    ),
    ("mnist_pow2", "svg", "structure,bank{banks=16}", "Stations in sixteen banks."),
    ("recurrent", "svg", "canonical,structure", "Recurrences are loops, dense lines grey bands."),
    ("convolution", "svg", "canonical,structure", "Paths through channels, a skip, a dense head."),
    ("mnist_pow2", "matrices", "canonical,structure", "Natural order beside the order in which paths address units."),
    ("unequal", "fan", "canonical,structure", "What one output hears of every layer."),
)
"""Example, kind, passes and caption of every picture in the gallery."""

INDEX = """\
# pathc

A compiler for path graphs: sparse networks whose paths visit one neuron in every layer.

![A metro map of four stations](gallery/0-digits.svg)

- [Tutorial](tutorial.md): from the first model to code that runs
- [The language](language.md), [its words](words.md), [the graph as text](ir.md), [diagnostics](codes.md)
- [Passes](passes/index.md) and [targets](targets/index.md), [one net through the rooms](architecture.md)
- [Gallery](gallery.md) and [pictures](pictures.md), [editors](editors.md)
- [How to add a pass, a generator, a target](extending.md)
"""


def on_files(files: Files, config: Any) -> Files:
    """Add the pages that are made here to those of the folder."""
    for name, text in {
        **_passes(),
        **_targets(),
        "words.md": _words(),
        "codes.md": _codes(),
        "index.md": INDEX,
    }.items():
        files.append(File.generated(config, name, content=text))
    for name, text in gallery().items():
        files.append(File.generated(config, name, content=text))
    return files


def gallery() -> dict[str, str]:
    """The page of the gallery and its pictures, each with the command that draws it."""
    lines, pictures = ["# Gallery", ""], dict[str, str]()
    for number, (example, kind, passes, caption) in enumerate(PICTURES):
        file = ROOT / "examples" / f"{example}.path"
        name = f"gallery/{number}-{example}.svg"
        source = Source(f"examples/{file.name}", file.read_text())
        pictures[name] = picture(kind, source, Options(pipeline=passes))
        command = f"$ pathc dump examples/{example}.path --emit {kind} -p '{passes}' -o {number}-{example}.svg"
        lines += [f"## {caption}", "", f"![{caption}]({name})", "", "```console", command, "```", ""]
    return {"gallery.md": "\n".join(lines), **pictures}


def _passes() -> dict[str, str]:
    pages: dict[str, str] = {}
    rows = ["# Passes", "", "| Pass | Does |", "|---|---|"]
    for entry in handbook.passes():
        name = entry["name"]
        rows.append(f"| [{name}]({name}.md) | {entry['summary']} |")
        options = "".join(f"| `{k}` | `{v}` |\n" for k, v in entry["options"].items())
        table = f"\n| Option | Default |\n|---|---|\n{options}" if options else ""
        pages[f"passes/{name}.md"] = f"# {name}\n\n{entry['summary']}\n\n{entry['doc']}\n{table}"
    return {"passes/index.md": "\n".join((*rows, "")), **pages}


def _targets() -> dict[str, str]:
    pages: dict[str, str] = {}
    rows = ["# Targets", "", "| Target | Is |", "|---|---|"]
    for entry in handbook.targets():
        name = entry["name"]
        rows.append(f"| [{name}]({name}.md) | {entry['summary']} |")
        stages = ", ".join(f"`{stage}`" for stage in entry["emits"])
        pages[f"targets/{name}.md"] = f"# {name}\n\n{entry['summary']}\n\nShows with `--emit`: {stages}.\n"
    return {"targets/index.md": "\n".join((*rows, "")), **pages}


def _words() -> str:
    lines = ["# Words of the language", ""]
    for kind in dict.fromkeys(entry.kind for entry in CATALOGUE):
        lines += [f"## {kind}", ""]
        for entry in (entry for entry in CATALOGUE if entry.kind == kind):
            lines += [f"**{entry.name}**: {entry.doc}", ""]
            for option in entry.options:
                default = "required" if option.default is None else f"`{show_value(option.default)}`"
                lines.append(f"- `{option.name}`: {option.doc} ({default})")
            lines.append("")
    return "\n".join(lines)


def _codes() -> str:
    lines = ["# Diagnostics", ""]
    for code in catalogue().values():
        lines += [f"## {code.name}: {code.title}", "", code.explanation, ""]
        if code.example:
            lines += ["```", code.example.rstrip(), "```", ""]
    return "\n".join(lines)
