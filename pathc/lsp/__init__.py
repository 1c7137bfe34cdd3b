"""The language in editors: what `pathc lsp` answers, and syntax files made from the grammar."""
