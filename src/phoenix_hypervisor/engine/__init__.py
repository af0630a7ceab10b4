"""The application: what Phoenix does, without a word about how it is asked or shown."""
