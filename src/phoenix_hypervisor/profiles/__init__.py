"""Profile sources: names, includes, compile, install, load, unload, ownership."""
