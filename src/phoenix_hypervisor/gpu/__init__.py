"""Which container can open which GPU, and why.  Pure, over facts that others gather."""
