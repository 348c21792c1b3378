"""Tables and JSON of `qreg selftest`."""
