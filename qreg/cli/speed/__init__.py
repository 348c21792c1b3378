"""``qreg speed``: one file per action."""
