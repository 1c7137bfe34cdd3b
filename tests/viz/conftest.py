"""Golden pictures: `pytest tests/viz --bless` writes them anew."""

from __future__ import annotations

from pathlib import Path

import pytest

GOLDEN = Path(__file__).parent / "golden"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--bless", action="store_true", help="write golden files instead of comparing with them")


class Golden:
    """Compares texts with files, or writes these."""

    def __init__(self, bless: bool) -> None:
        self.bless = bless

    def __call__(self, name: str, text: str) -> None:
        file = GOLDEN / name
        if self.bless:
            file.parent.mkdir(exist_ok=True)
            file.write_text(text, encoding="utf-8")
        assert text == file.read_text(encoding="utf-8")


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Golden:
    return Golden(bool(request.config.getoption("--bless", default=False)))
