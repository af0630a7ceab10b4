"""Ordinary guests under our profiles: what a user would miss. `python -m workloads` runs it in the lab."""
