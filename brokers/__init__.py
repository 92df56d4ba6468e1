"""Transport: opaque messages over RabbitMQ or over one process's memory. Knows nothing of stamps."""
