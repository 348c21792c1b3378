"""The checks of the gate, one file each: pure functions without torch, files, clock or print."""
