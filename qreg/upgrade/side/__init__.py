"""What one side of `qreg upgrade` does, in the interpreter of that side."""
