"""The examples are imported as a user would: their folder is on the path."""

from __future__ import annotations

import sys

from stamp.resources import examples

sys.path.insert(0, str(examples()))
