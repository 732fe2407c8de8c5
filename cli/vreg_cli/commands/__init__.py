"""Commands that read options and act: one module a command."""
