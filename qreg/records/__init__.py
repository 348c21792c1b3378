"""The records shared by all parts: frozen, checked on construction; standard library only."""
