"""A support ticket crosses four services, each with a database of its own; `stamp demo` runs it.

Read `workflow.py` first, then one service, for example `assignment.py`.
"""
