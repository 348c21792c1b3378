"""Budgets: what the owner allows, judged by what is shown to be kept."""
