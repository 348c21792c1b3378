"""Networks and data of every kind, as a user would write them; the pages of docs/examples."""
