"""The work of one side of `qreg upgrade`, run in that side's interpreter."""
