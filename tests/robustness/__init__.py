"""Hostile files, hostile models and kills: qreg names what is wrong, and loses nothing."""
