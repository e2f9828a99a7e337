"""One module a command: arguments in, text or JSON out; standard library only."""
