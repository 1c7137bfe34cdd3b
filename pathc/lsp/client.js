// The extension for VS Code: starts `pathc lsp` and speaks with it. Without the client library it colours texts alone.
"use strict";

const { workspace } = require("vscode");

let client;

exports.activate = async () => {
  let library;
  try {
    library = require("vscode-languageclient/node");
  } catch {
    return;
  }
  const [command, ...args] = workspace.getConfiguration("path").get("server");
  const filter = { documentSelector: [{ language: "path" }] };
  client = new library.LanguageClient("path", "pathc", { command, args }, filter);
  await client.start();
};

exports.deactivate = () => client?.stop();
