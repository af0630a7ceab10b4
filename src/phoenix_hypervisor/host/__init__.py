"""The only door to the machine: root prefix, files, processes, locks, kernel."""
