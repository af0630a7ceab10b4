"""What runs inside the container: the operations' own tools, the runner and the sweep.  Standard library only."""
