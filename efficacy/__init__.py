"""What profiles stop and what they let work, tried out in real containers: `make efficacy`."""
