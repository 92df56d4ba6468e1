"""Adapters of `stamp.ports.Store`: memory, SQLite, PostgreSQL and SQLAlchemy. Import the one you need."""
