"""Standard streams that are closed, full, or know few characters, and outputs that are no ordinary files."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from command import SMALL, Run

from pathc.support.diagnostics import Diagnostic, PathcError, render
from pathc.support.files import write_atomically

VERBS = (("check", "small.path"), ("dump", "small.path"), ("--help",), ("explain", "words"))


def shell(command: str, model: Path, **variables: str) -> subprocess.CompletedProcess[bytes]:
    line, variables = command.replace("pathc", f"{sys.executable} -m pathc", 1), {**os.environ, **variables}
    return subprocess.run(
        line, shell=True, cwd=model.parent, env=variables, capture_output=True, timeout=60, check=False
    )


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("stream", [0, 1, 2])
def test_closed_streams_lead_nowhere(model: Path, verb: tuple[str, ...], stream: int) -> None:
    done = shell(f"pathc {' '.join(verb)} {stream}>&-", model)
    assert (done.returncode, b"Error" in done.stderr + done.stdout) == (0, False)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_full_disk(model: Path) -> None:
    done = shell("pathc dump small.path > /dev/full", model)
    assert done.returncode == 1
    assert done.stderr.startswith(b"error[E0503]: cannot write: No space left")


def test_names_need_not_be_text(model: Path) -> None:
    model.with_name("small\udcff.path").write_text(SMALL)
    done = shell("pathc dump small?.path", model, PYTHONIOENCODING="utf-8:strict")
    assert (done.returncode, b"Error" in done.stderr) == (0, False)


def test_tables_in_ascii(model: Path) -> None:
    done = shell("pathc bench small.path --batch 1 --seconds 0.001", model, PYTHONIOENCODING="ascii")
    assert done.returncode == 0, done.stderr
    assert done.stdout.isascii()
    assert b"median" in done.stdout


def test_a_byte_order_mark_is_no_text(run: Run, tmp_path: Path) -> None:
    marked = b"\xef\xbb\xbf" + SMALL.encode()
    (tmp_path / "marked.path").write_bytes(marked)
    assert run("check", "marked.path").code == 0
    assert run("check", "-", stdin=marked).code == 0


def test_messages_command_no_terminal() -> None:
    text = render(Diagnostic("E0501", "cannot read `\x1b[31m\x07\udcff`", notes=("\r",), help="\x9b"))
    assert all(character.isprintable() for character in text.replace("\n", ""))


def test_links_are_followed_and_pipes_stay_pipes(tmp_path: Path) -> None:
    link, file = tmp_path / "link.pir", tmp_path / "file.pir"
    link.symlink_to(file)
    write_atomically(link, "text")
    assert (link.is_symlink(), file.read_text()) == (True, "text")
    pipe = tmp_path / "pipe.pir"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    write_atomically(pipe, "text")
    assert os.read(reader, 9) == b"text"
    os.close(reader)
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    with pytest.raises(PathcError, match="E0503"):
        write_atomically(tmp_path, "text")


@pytest.mark.skipif(not Path("/dev/stdout").exists(), reason="standard output has no name on this system")
def test_standard_output_by_its_name(model: Path) -> None:
    done = shell("pathc opt small.path -o /dev/stdout", model)
    assert (done.returncode, done.stdout) == (0, shell("pathc opt small.path", model).stdout)
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "pathc", "opt", "small.path", "-o", "/dev/stdout"]
    gone = subprocess.run(command, cwd=model.parent, stdout=writer, stderr=subprocess.PIPE, check=False)
    os.close(writer)
    assert (gone.returncode, gone.stderr) == (141, b"")


@pytest.mark.parametrize(
    ("arguments", "code"),
    [(("--form", "main.9=gather"), "E0612"), (("--form", "mian.1=gather"), "E0612"), (("--form", "gahter"), "E0612"),
     (("--form", "gather", "-t", "reference"), "E0806")],
)  # fmt: skip
def test_forms_of_nothing(run: Run, model: Path, tmp_path: Path, arguments: tuple[str, ...], code: str) -> None:
    np.save(tmp_path / "x.npy", np.zeros(64, np.float32))
    result = run("run", model, "--input", "x.npy", *arguments)
    assert result.code in (1, 2)
    assert f"error[{code}]" in result.err
