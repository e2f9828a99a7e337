"""The lab: a real machine to test against, with systemd as PID 1, cgroup v2 and a Docker engine (see ../README.md)."""
