"""CTID.conf codec and the runtimes that create, start and stop containers."""
