"""What `qreg upgrade` prints and writes."""
