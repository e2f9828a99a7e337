"""DS01: one policy file that makes a shared GPU server fair, safe and pleasant."""

__version__ = "0.1.0"
