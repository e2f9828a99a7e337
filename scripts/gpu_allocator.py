#!/usr/bin/env python3
"""The name admins know for `ds01 gpu`; needs nvidia-ml-py, or else the nvidia-smi tool."""

import sys

from ds01.runtime.commands.gpu import main

sys.exit(main())
