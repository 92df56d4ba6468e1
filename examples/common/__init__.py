"""What the examples share: lines in, services at work on some broker and some databases, the account at the end.

`example.py` says what an example has to bring; read an example itself first, for instance `tickets/workflow.py`.
"""
