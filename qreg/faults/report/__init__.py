"""Tables and JSON output of `qreg selftest`."""
