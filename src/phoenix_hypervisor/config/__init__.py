"""What the operator declares: load, validate, model.  Pure: bytes in, values out."""
