"""The rule of `qreg speed check`, pure."""
