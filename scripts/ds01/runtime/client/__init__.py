"""The docker client: which options each of its versions takes, and what a command line of it means."""
