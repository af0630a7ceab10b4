"""The runtimes, a module each, and the registry that names them."""
