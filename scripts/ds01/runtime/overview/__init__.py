"""How an account stands: what it uses, what it may use, in one value for all who show it."""
