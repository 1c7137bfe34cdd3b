"""The process: faults, signals, pipes, what is imported."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from command import SMALL, Run

COMMAND = [sys.executable, "-m", "pathc"]


def test_help_imports_nothing_heavy() -> None:
    code = "import sys; from pathc.cli import main; main(['--help']); print(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "usage: pathc" in done.stdout
    assert not {"numpy", "rich", "lark", "llvmlite", "scipy", "networkx", "dataclasses_json"} & set(done.stderr.split())


@pytest.mark.parametrize(
    "verb", ["check", "fmt", "dump", "compile", "run", "bench", "opt", "explain", "passes", "targets", "train", "sweep"]
)
def test_every_verb_has_help(run: Run, verb: str) -> None:
    result = run(verb, "--help")
    assert (result.code, result.err) == (0, "")
    assert f"usage: pathc {verb}" in result.out


@pytest.mark.parametrize("verb", ["check", "run", "train", "sweep", "compile", "bench"])
def test_ctrl_c_while_modules_are_imported(verb: str, capsys: pytest.CaptureFixture[str], monkeypatch) -> None:
    """Half of a short command is importing, so that is where most early Ctrl-C arrive."""
    import builtins

    from pathc.cli import main

    real = builtins.__import__

    def interrupted(name: str, *rest: object, **more: object) -> object:
        if name == "pathc.cli.application":
            raise KeyboardInterrupt
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", interrupted)
    assert main([verb, "m.path"]) == 130
    assert capsys.readouterr() == ("", "interrupted\n")


LONG = {
    "run": ["run", "m.path", "--input", "x.npy", "-o", "out/y.npy"],
    "compile": ["compile", "m.path", "-o", "out/m.so"],
    "bench": ["bench", "m.path"],
    "train": ["train", "m.path", "--data", "digits", "--epochs", "100000", "-q", "-o", "out/w.safetensors"],
    "sweep": ["sweep", "m.path", "--data", "digits", "--epochs", "100000", "--set", "C=64,128", "-o", "out"],
}
MODEL = (
    "pathc 1\nlet C = 4096\ninput x[64]\nlayer a[300] : relu\nlayer b[300] : relu\noutput y[10]\n"
    "paths p : x -> a -> b -> y { count = C }\n"
)


@pytest.mark.parametrize("verb", LONG)
def test_ctrl_c_in_the_middle(verb: str, tmp_path: Path) -> None:
    """130 and no file that was not finished; pressed again where Python lost the first one in a callback."""
    import numpy as np

    (tmp_path / "m.path").write_text(MODEL)
    (tmp_path / "out").mkdir()
    np.save(tmp_path / "x.npy", np.zeros((1 << 17, 64), np.float32))
    ready = (
        "import sys, signal; signal.signal(signal.SIGINT, signal.default_int_handler);"
        "import llvmlite.binding, lark, rich.progress, scipy.sparse;"
        "import pathc.driver, pathc.bench.harness, pathc.train.sweep;"
        "from pathc.cli import application, main; first = application.run;"
        "application.run = lambda given: (print('ready', flush=True), first(given))[1];"
        "sys.exit(main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", ready, *LONG[verb]]
    work = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert work.stdout is not None
    assert work.stdout.readline() == "ready\n"
    err = ""
    for _ in range(6):
        work.send_signal(signal.SIGINT)
        try:
            _, err = work.communicate(timeout=8)
            break
        except subprocess.TimeoutExpired:
            continue
    else:
        work.kill()
        work.communicate()
    assert work.returncode == 130, err
    assert "Traceback" not in err or "Exception ignored" in err
    left = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert not [path for path in left if path.name.startswith(".")], "a temporary file was left behind"


def test_ctrl_c_in_code_made_from_a_string(tmp_path: Path) -> None:
    """Python would end by the signal, though the exception is caught."""
    code = (
        "import signal, sys; from pathc.cli import main, application\n"
        "def run(given):\n"
        "    try: exec('signal.raise_signal(signal.SIGINT)')\n"
        "    except KeyboardInterrupt: return 130\n"
        "application.run = run\n"
        "sys.exit(main([]))"
    )
    (tmp_path / "pressed.py").write_text(code)
    path = os.pathsep.join((str(tmp_path), *sys.path))
    done = subprocess.run([sys.executable, "-m", "pressed"], check=False, env={**os.environ, "PYTHONPATH": path})
    assert done.returncode == 130


def test_errors_that_libraries_make_of_ctrl_c(run: Run, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def importing(*_: object) -> None:
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt as reason:
            raise ImportError("the extension failed") from reason

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    monkeypatch.setattr("pathc.driver.compile_model", importing)
    try:
        result = run("compile", model)
    finally:
        signal.signal(signal.SIGINT, before)
    assert (result.code, result.err) == (130, "interrupted\n")


def test_fault_leaves_a_reproducer(run: Run, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fault(*_: object) -> None:
        raise ZeroDivisionError("a fault")

    monkeypatch.setattr("pathc.driver.compile_model", fault)
    result = run("compile", model, "--batch", "3")
    assert result.code == 70
    assert "error[E0813]" in result.err
    assert "Traceback" not in result.err
    (report,) = tmp_path.glob("pathc-crash-*.txt")
    assert str(report) in result.err
    text = report.read_text()
    for part in (f"$ pathc compile {model} --batch 3", SMALL, "ZeroDivisionError: a fault", "Traceback", "Python 3."):
        assert part in text


def test_traceback_on_demand(run: Run, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATHC_DEBUG", "1")
    model.write_text(SMALL.replace("relu", "rleu"))
    result = run("dump", model)
    assert result.code == 1
    assert "Traceback" in result.err


def test_wrong_outputs_are_a_fault(
    run: Run, model: Path, inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pathc.backends.llvm.executable import CpuExecutable

    right = CpuExecutable.__call__
    monkeypatch.setattr(CpuExecutable, "__call__", lambda self, x: right(self, x) + 1)
    result = run("run", model, "--input", inputs, "--against", "reference", "-o", "y.npy")
    assert result.code == 70
    assert "error[E0812]" in result.err
    assert not (tmp_path / "y.npy").exists()
    assert list(tmp_path.glob("pathc-crash-*.txt"))


def test_memory_that_is_refused(run: Run, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr("pathc.driver.compile_model", refuse)
    result = run("compile", model)
    assert result.code == 1
    assert "error[E0814]" in result.err


def test_interrupt(run: Run, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("pathc.driver.compile_model", interrupt)
    result = run("compile", model)
    assert result.code == 130
    assert "Traceback" not in result.err


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_interrupt_from_outside() -> None:
    """Ctrl-C while the text is waited for, which it is once the pipe is empty."""
    import fcntl
    import termios

    process = subprocess.Popen(
        [*COMMAND, "check", "-"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdin is not None
        assert process.stderr is not None
        process.stdin.write("pathc 1\n")
        process.stdin.flush()
        unread = bytearray(4)
        for _ in range(600):
            fcntl.ioctl(process.stdin.fileno(), termios.FIONREAD, unread)
            if not int.from_bytes(unread, sys.byteorder):
                break
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        assert "Traceback" not in process.stderr.read()
    assert process.returncode == 130


@pytest.mark.parametrize("arguments", [("dump", "small.path"), ("explain", "codes")])
def test_reader_that_goes_away(model: Path, arguments: tuple[str, ...]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run(
            [*COMMAND, *arguments], stdout=writer, stderr=subprocess.PIPE, text=True, cwd=model.parent, check=False
        )
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (141, "")


def test_colours_only_on_terminals(model: Path) -> None:
    model.write_text(SMALL.replace("relu", "rleu"))
    done = subprocess.run([*COMMAND, "check", str(model)], capture_output=True, text=True, check=False)
    assert "\x1b[" not in done.stderr
    assert "^^^^" in done.stderr
