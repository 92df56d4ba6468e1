"""Private RabbitMQ nodes for tests, demos and development, on free loopback ports and without root."""

from brokers.node.cluster import Cluster
from brokers.node.detached import Status, down, status, up
from brokers.node.server import find_server
from brokers.node.single import Node

__all__ = ["Cluster", "Node", "Status", "down", "find_server", "status", "up"]
