"""The checks of the gate, one a file: pure functions, no torch, no files, no clock, no print."""
