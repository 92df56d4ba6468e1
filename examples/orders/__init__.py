"""An order crosses five services, two of them side by side, each with a database of its own.

`stamp demo --example orders` runs it. Read `workflow.py` first, then one service, for example `warehouse.py`.
"""
