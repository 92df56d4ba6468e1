"""An application that consumes from RabbitMQ by itself joins a workflow: compare `before.py` with `after.py`.

Both take tickets from the same queue, do the same `business.py`, and publish the same event to the same exchange.
What is new: a crash between any two lines neither loses nor doubles, and every run can be followed.
"""
