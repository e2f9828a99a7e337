#!/usr/bin/env python3
"""What an account uses and may use, for scripts; runs under the system's own Python."""

import sys

from ds01.runtime.commands.resource_query import main

sys.exit(main())
