"""Compiled policy: read, walk, query, list, diff, test, lint.  Pure."""
