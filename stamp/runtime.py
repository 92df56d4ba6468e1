"""An open service: its connections, its relay and its workers, from the first declaration to the drained end."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from brokers.clock import SystemClock
from brokers.contract import Broker, Consumer, Publication
from brokers.registry import broker_for
from stamp import held, journal
from stamp.delivery import Road, Station
from stamp.nostore import NoStore
from stamp.ports import Clock, Store
from stamp.registry import store_for
from stamp.relay import Relay
from stamp.sending import Sender, Teller

if TYPE_CHECKING:
    from stamp.service import Service

log = logging.getLogger("stamp")

DRAIN = 30.0
"""Seconds that deliveries in hand get to finish when a service stops; after that the broker gives them again."""
