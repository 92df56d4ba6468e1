"""What tools make of stamps: reading them in any form they are found in, timelines, drawings. Pure, no I/O."""
