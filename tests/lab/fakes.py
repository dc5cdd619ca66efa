"""The old name of what is now in modules by service; goes when nothing imports it any more."""

from tests.lab.clock import NOW, Clock, half
from tests.lab.dynamodb import TABLE, FakeDynamoDB, plain
from tests.lab.failures import Failures, client_error
from tests.lab.parts import make_client, make_owners
from tests.lab.secrets import OTHER_KEY, ROUTING_KEY, FakeSecrets, target_secret
from tests.lab.sqs import DEAD_LETTER_URL, RETRY_URL, FakeSQS, Message
from tests.lab.wire import BASE_URL, DirectPool
from tests.lab.world import INVOCATION_SECONDS, World, make_items, make_limiter, make_table, make_world, native

__all__ = [
    "BASE_URL",
    "DEAD_LETTER_URL",
    "INVOCATION_SECONDS",
    "NOW",
    "OTHER_KEY",
    "RETRY_URL",
    "ROUTING_KEY",
    "TABLE",
    "Clock",
    "DirectPool",
    "Failures",
    "FakeDynamoDB",
    "FakeSQS",
    "FakeSecrets",
    "Message",
    "World",
    "client_error",
    "half",
    "make_client",
    "make_items",
    "make_limiter",
    "make_owners",
    "make_table",
    "make_world",
    "native",
    "plain",
    "target_secret",
]
