"""`python -m tests.lab.machine`: the lab's command line."""

import sys

from tests.lab.machine.cli import main

sys.exit(main())
