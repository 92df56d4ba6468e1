"""Does a routing key match a binding's pattern?"""

from __future__ import annotations


def topic_matches(pattern: str, key: str) -> bool:
    """`*` is exactly one word, `#` any number of words, none included; words are parted by dots.

    As RabbitMQ has it, the empty key has no words (https://www.rabbitmq.com/tutorials/amqp-concepts#exchange-topic).
    Every place of the pattern that the words so far can have reached is carried along, so no pattern is slow.
    """
    wanted = _words(pattern)
    reached = _past_hashes(wanted, {0})
    for word in _words(key):
        reached = _past_hashes(wanted, _after(wanted, reached, word))
    return len(wanted) in reached


def _words(text: str) -> list[str]:
    return text.split(".") if text else []


def _after(wanted: list[str], reached: set[int], word: str) -> set[int]:
    places = {place for place in reached if place < len(wanted)}
    stay = {place for place in places if wanted[place] == "#"}
    return stay | {place + 1 for place in places if wanted[place] in ("*", word)}


def _past_hashes(wanted: list[str], reached: set[int]) -> set[int]:
    places = set(reached)
    for place, word in enumerate(wanted):
        if place in places and word == "#":
            places.add(place + 1)
    return places
