"""`qreg speed calibrate`: how often the speed rule is wrong on this machine."""
