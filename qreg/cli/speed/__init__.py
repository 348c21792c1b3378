"""``qreg speed``: one action a file."""
