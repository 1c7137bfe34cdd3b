"""The extension for VS Code, run by Node beside stand-ins of the editor and of the client library."""

from __future__ import annotations

import json
import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest

from pathc.cli import main
from pathc.lsp.syntax import extension, package

needs_node = pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed, so no extension is run")
EDITOR = """
exports.workspace = { getConfiguration: () => ({ get: () => %s }) };
"""
LIBRARY = """
exports.LanguageClient = class {
  constructor(...given) { console.log(JSON.stringify(given)); }
  async start() { console.log('"started"'); }
  async stop() { console.log('"stopped"'); }
};
"""
RUN = 'const c = require("./client.js"); c.activate().then(() => c.deactivate());'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, text in extension().items():
        if name.startswith("vscode/"):
            (tmp_path / Path(name).name).write_text(text)
    editor = tmp_path / "node_modules" / "vscode"
    editor.mkdir(parents=True)
    command = json.loads(package())["contributes"]["configuration"]["properties"]["path.server"]["default"]
    (editor / "index.js").write_text(EDITOR % json.dumps(command))
    return tmp_path


def library(folder: Path) -> None:
    made = folder / "node_modules" / "vscode-languageclient"
    made.mkdir()
    (made / "package.json").write_text('{"name": "vscode-languageclient"}')
    (made / "node.js").write_text(LIBRARY)


def run(folder: Path) -> list[object]:
    done = subprocess.run(["node", "-e", RUN], cwd=folder, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@needs_node
def test_it_starts_the_server_and_stops_it(folder: Path) -> None:
    library(folder)
    given, *then = run(folder)
    server = {"command": "pathc", "args": ["lsp"]}
    assert given == ["path", "pathc", server, {"documentSelector": [{"language": "path"}]}]
    assert then == ["started", "stopped"]


@needs_node
def test_it_is_silent_without_the_library(folder: Path) -> None:
    assert run(folder) == []


def test_the_library_is_packed(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = folder / "path.vsix"
    assert main(["lsp", "--vsix", str(file), "--modules", str(folder)]) == 1
    assert "E1213" in capsys.readouterr().err
    assert not file.exists()
    library(folder)
    assert main(["lsp", "--vsix", str(file), "--modules", str(folder)]) == 0
    with zipfile.ZipFile(file) as archive:
        assert "extension/node_modules/vscode-languageclient/node.js" in archive.namelist()
        assert 'Extension="js"' in archive.read("[Content_Types].xml").decode()
