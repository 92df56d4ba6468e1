"""The embedded broker: exchanges, quorum-style queues, delays, dead letters and streams in one process."""

from brokers.memory.broker import MemoryBroker
from brokers.memory.node import MemoryNode
from brokers.memory.queue import QueueCounts

__all__ = ["MemoryBroker", "MemoryNode", "QueueCounts"]
