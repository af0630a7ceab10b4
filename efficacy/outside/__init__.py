"""What runs on the container's host, the lab's guest: targets, judges, and the order of work.  Standard library only."""
