"""Writing SVG: one element a line, numbers short, every text escaped."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from xml.sax.saxutils import escape as _escape
from xml.sax.saxutils import quoteattr

from pathc.viz.palette import LINES, LINES_ON_DARK, SHADES, SHADES_ON_DARK

Point = tuple[float, float]
_FONT = "system-ui, 'Segoe UI', 'DejaVu Sans', sans-serif"
_LIGHT = (
    ".paper{fill:#ffffff}.ink{fill:#1c2733}.soft{fill:#55626f}.bar{fill:#ffffff;stroke:#1c2733;stroke-width:1.6}"
    ".frame{fill:none;stroke:#8894a0}.thin{stroke:#8894a0;stroke-width:0.6}.dense{fill:#8894a0;fill-opacity:0.28}"
    ".skip{fill:none;stroke:#55626f;stroke-width:2;stroke-dasharray:6 4}.loop{fill:none;stroke:#1c2733;"
    "stroke-width:1.6}.cell{fill:#08306b}"
)
_DARK = (
    ".paper{fill:#14191f}.ink{fill:#e8edf2}.soft{fill:#a7b3bf}.bar{fill:#14191f;stroke:#e8edf2}"
    ".frame{stroke:#66727e}.thin{stroke:#66727e}.dense{fill:#a7b3bf;fill-opacity:0.28}.skip{stroke:#a7b3bf}"
    ".loop{stroke:#e8edf2}.cell{fill:#9ccbf2}"
)


def plain(text: str) -> str:
    """The text as XML may hold it: escaped, characters that XML forbids replaced."""
    kept = "".join(c if c.isprintable() or c in "\n\t" else "\N{REPLACEMENT CHARACTER}" for c in text)
    return _escape(kept)


def shorten(text: str, longest: int) -> str:
    """The text, its middle cut out if it is longer than `longest` characters."""
    if len(text) <= longest:
        return text
    head = (longest - 1) * 2 // 3
    return f"{text[:head]}\N{HORIZONTAL ELLIPSIS}{text[len(text) - (longest - 1 - head) :]}"


def text_width(text: str, size: float = 13.0) -> float:
    """About how wide a text is in pixels, on the safe side."""
    return 0.62 * size * len(text)


def number(value: float) -> str:
    """A coordinate with at most one decimal."""
    text = f"{value:.1f}".removesuffix(".0")
    return "0" if text == "-0" else text


@dataclass
class Drawing:
    """A picture of `width` x `height` pixels that grows by elements and is written once."""

    title: str
    width: float = 0.0
    height: float = 0.0
    _elements: list[str] = field(default_factory=list[str])

    def add(self, tag: str, inner: str | None = None, **attributes: str | float) -> None:
        """One element; `inner` is the text of its tooltip, underscores in names of attributes become dashes."""
        spelt = "".join(f" {_name(key)}={_value(value)}" for key, value in attributes.items())
        tail = "/>" if inner is None else f"><title>{plain(inner)}</title></{tag}>"
        self._elements.append(f"<{tag}{spelt}{tail}")

    def text(
        self, x: float, y: float, text: str, *, size: int = 13, anchor: str = "start", role: str = "ink",
        bold: bool = False, turn: int = 0,
    ) -> None:  # fmt: skip
        """A line of text with its baseline at y, turned by `turn` degrees about its anchor."""
        weight = ' font-weight="600"' if bold else ""
        weight += f' transform="rotate({turn} {number(x)} {number(y)})"' if turn else ""
        self._elements.append(
            f'<text x="{number(x)}" y="{number(y)}" class="{role}" font-size="{size}" '
            f'text-anchor="{anchor}"{weight}>{plain(text)}</text>'
        )

    def polyline(self, points: Iterable[Point], kind: str, tip: str | None = None, width: float = 2.0) -> None:
        """A line through points, in the style of the class `kind`."""
        spelt = " ".join(f"{number(x)},{number(y)}" for x, y in points)
        self.add("polyline", tip, points=spelt, class_=kind, stroke_width=width)

    def polygon(self, points: Iterable[Point], kind: str, tip: str | None = None) -> None:
        """A filled shape."""
        self.add("polygon", tip, points=" ".join(f"{number(x)},{number(y)}" for x, y in points), class_=kind)

    def open(self, kind: str, source: str = "", transform: str = "") -> None:
        """Begin a group of a class; `source` is the line of the text it was made from."""
        place = f" data-line={quoteattr(source)}" if source else ""
        place += f" transform={quoteattr(transform)}" if transform else ""
        self._elements.append(f'<g class="{kind}"{place}>')

    def close(self) -> None:
        """End a group."""
        self._elements.append("</g>")

    def render(self) -> str:
        """The whole picture as SVG text; follows the reader's choice of light or dark."""
        width, height = number(self.width), number(self.height)
        head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
            f'viewBox="0 0 {width} {height}" font-family="{_FONT}" role="img">'
        )
        dark = f"@media (prefers-color-scheme: dark){{{_rules(_DARK, LINES_ON_DARK, SHADES_ON_DARK)}}}"
        style = f"<style>\n{_rules(_LIGHT, LINES, SHADES)}\n{dark}"
        paper = f'<rect class="paper" width="{width}" height="{height}"/>'
        body = (f"<title>{plain(self.title)}</title>", f"{style}\n</style>", paper, *self._elements)
        return "\n".join((head, *body, "</svg>", ""))


def runs(cells: Iterable[tuple[int, int, int]]) -> str:
    """Path data of rectangles (x, y, width) of height 1."""
    return "".join(f"M{x} {y}h{width}v1h-{width}z" for x, y, width in cells)


def _rules(base: str, colours: Sequence[str], shades: Sequence[str]) -> str:
    lines = "".join(
        f".l{i}{{fill:none;stroke:{c};stroke-linejoin:round;stroke-linecap:round}}"
        f".b{i}{{fill:{c};fill-opacity:0.16}}.s{i}{{fill:{c}}}"
        for i, c in enumerate(colours)
    )
    return base + lines + "".join(f".q{i}{{fill:{c}}}" for i, c in enumerate(shades))


def _name(key: str) -> str:
    return key.rstrip("_").replace("_", "-")


def _value(value: str | float) -> str:
    return quoteattr(value) if isinstance(value, str) else f'"{number(value)}"'
