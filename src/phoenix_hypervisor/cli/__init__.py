"""Arguments in, text or JSON out.  Sub-commands import lazily."""
