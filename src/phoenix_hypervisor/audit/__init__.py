"""AppArmor's lines in a log."""
