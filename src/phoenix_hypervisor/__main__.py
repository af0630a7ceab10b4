"""`python -m phoenix_hypervisor`: the same program as the `phoenix` script."""

from phoenix_hypervisor.cli.entry import phoenix

if __name__ == "__main__":
    raise SystemExit(phoenix())
