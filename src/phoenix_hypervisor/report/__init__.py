"""What monitoring and auditors take away: the state of a host as metrics."""
