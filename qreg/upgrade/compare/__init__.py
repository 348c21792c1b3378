"""The rule of `qreg upgrade`, pure."""
