"""What the kernel counts for accounts and their containers: control groups, version 2. Only reads."""
