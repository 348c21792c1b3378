"""The decision rule of `qreg upgrade`: pure functions."""
