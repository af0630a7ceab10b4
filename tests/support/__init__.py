"""What the tests stand on: hosts that are directories, and doubles of what this machine lacks."""
