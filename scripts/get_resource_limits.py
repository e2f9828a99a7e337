#!/usr/bin/env python3
"""The name admins know for `ds01 limits`; runs under the system's own Python."""

import sys

from ds01.runtime.commands.limits import main

sys.exit(main())
