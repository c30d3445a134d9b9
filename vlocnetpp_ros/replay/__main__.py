"""`python -m vlocnetpp_ros.replay`."""

import sys

from vlocnetpp_ros.replay.command import main

sys.exit(main())
