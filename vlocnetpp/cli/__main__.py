"""`python -m vlocnetpp.cli`."""

import sys

from vlocnetpp.cli.main import main

sys.exit(main())
