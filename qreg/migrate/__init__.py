"""`qreg migrate`: a deprecated method compared with its successors."""
