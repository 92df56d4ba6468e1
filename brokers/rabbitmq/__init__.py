"""RabbitMQ over aio-pika: the only package that knows the client library."""

from brokers.rabbitmq.adopted import AdoptedChannel, adopt
from brokers.rabbitmq.broker import RabbitBroker

__all__ = ["AdoptedChannel", "RabbitBroker", "adopt"]
