"""Foundation used by every room: source text, diagnostics, files."""
