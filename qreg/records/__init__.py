"""What travels between the parts: frozen, checked when made; standard library only."""
