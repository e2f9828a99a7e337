"""Values and the few I/O primitives that every side shares; standard library only."""
