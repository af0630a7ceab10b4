"""Desired and current state, their difference, and the transaction that applies it."""
