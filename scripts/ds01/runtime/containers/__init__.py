"""Containers as the engine has them."""
