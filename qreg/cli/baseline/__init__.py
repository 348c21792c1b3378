"""``qreg baseline``: one action a file."""
