"""What `qreg speed` prints."""
