"""What an admin does on a host without a checkout: verify, history, rollback, recover, compare."""
