"""Condition, update, projection and key expressions of DynamoDB, parsed and carried out as it documents them.

They refuse what DynamoDB refuses: names and values that are unused or not defined, redundant parentheses, one attribute
in two clauses.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from typing import Any, cast

from botocore.exceptions import ClientError

type Item = Mapping[str, Mapping[str, Any]]

_TOKEN = re.compile(r"\s*([#:]\w+|\w+|<=|>=|<>|[=<>(),+\-])")

type _Node = tuple[Any, ...]


def invalid(message: str, operation: str = "UpdateItem") -> ClientError:
    """Return the error with which DynamoDB refuses a call."""
    error = {"Code": "ValidationException", "Message": message}
    return ClientError(cast(Any, {"Error": error}), operation)


class _Tokens:
    def __init__(self, text: str) -> None:
        self.left: list[str] = []
        at = 0
        while text[at:].strip():
            token = _TOKEN.match(text, at)
            if not token:
                raise invalid(f"Syntax error; token: {text[at:]}")
            self.left.append(token[1])
            at = token.end()
        self.left.reverse()

    @property
    def next(self) -> str:
        return self.left[-1] if self.left else ""

    def take(self, *expected: str) -> str:
        if not self.left or (expected and self.next.upper() not in expected):
            raise invalid(f"Syntax error; token: {self.next or '<EOF>'}")
        return self.left.pop()

    def takes(self, word: str) -> bool:
        if self.next.upper() == word:
            self.left.pop()
            return True
        return False


@lru_cache(maxsize=256)
def _parse_condition(text: str) -> _Node:
    tokens = _Tokens(text)
    node = _either(tokens)
    if tokens.left:
        raise invalid(f"Syntax error; token: {tokens.next}")
    return node


def _either(tokens: _Tokens) -> _Node:
    node = _both(tokens)
    while tokens.takes("OR"):
        node = ("OR", node, _both(tokens))
    return node


def _both(tokens: _Tokens) -> _Node:
    node = _negation(tokens)
    while tokens.takes("AND"):
        node = ("AND", node, _negation(tokens))
    return node


def _negation(tokens: _Tokens) -> _Node:
    return ("NOT", _negation(tokens)) if tokens.takes("NOT") else _comparison(tokens)


def _comparison(tokens: _Tokens) -> _Node:
    if tokens.takes("("):
        inner = _either(tokens)
        tokens.take(")")
        if inner[0] == "PARENTHESES":
            raise invalid("The expression has redundant parentheses;")
        return ("PARENTHESES", inner)
    left = tokens.take()
    if left in ("attribute_exists", "attribute_not_exists"):
        tokens.take("(")
        path = tokens.take()
        tokens.take(")")
        return (left, path)
    if left in ("begins_with", "contains"):
        tokens.take("(")
        path = tokens.take()
        tokens.take(",")
        part = tokens.take()
        tokens.take(")")
        return (left, path, part)
    return (tokens.take("=", "<", "<=", ">", ">=", "<>"), left, tokens.take())


@lru_cache(maxsize=256)
def _parse_update(text: str) -> tuple[_Node, ...]:
    tokens = _Tokens(text)
    clauses: list[_Node] = []
    while tokens.left:
        clause = tokens.take("SET", "REMOVE", "ADD").upper()
        while True:
            path = tokens.take()
            match clause:
                case "SET":
                    tokens.take("=")
                    clauses.append(("SET", path, _sum(tokens)))
                case "ADD":
                    clauses.append(("ADD", path, tokens.take()))
                case _:
                    clauses.append(("REMOVE", path))
            if not tokens.takes(","):
                break
    return tuple(clauses)


def _sum(tokens: _Tokens) -> _Node:
    left = _operand(tokens)
    if tokens.next in ("+", "-"):
        return (tokens.take(), left, _operand(tokens))
    return left


def _operand(tokens: _Tokens) -> _Node:
    word = tokens.take()
    if word != "if_not_exists":
        return ("OPERAND", word)
    tokens.take("(")
    path = tokens.take()
    tokens.take(",")
    default = _operand(tokens)
    tokens.take(")")
    return ("IF_NOT_EXISTS", path, default)


@dataclass(frozen=True, slots=True)
class KeyCondition:
    """What a query asks of an index: one partition, and maybe something of the range key."""

    hash: str
    range_node: _Node | None
    expressions: "Expressions"

    def range_holds(self, item: Item) -> bool:
        """Return whether the range key is among those that are asked for."""
        return self.range_node is None or self.expressions.evaluate(self.range_node, item)


class Expressions:
    """Carries out expressions with the names and values of one call."""

    def __init__(
        self,
        names: Mapping[str, str] | None = None,
        values: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        self.names = names or {}
        self.values = values or {}

    def check_use(self, text: str) -> None:
        used = set(re.findall(r"[#:]\w+", text))
        if unused := (self.names.keys() | self.values.keys()) - used:
            raise invalid(f"Value provided in ExpressionAttribute... unused in expressions: {sorted(unused)}")
        if undefined := used - (self.names.keys() | self.values.keys()):
            raise invalid(f"An expression attribute used in expression is not defined: {sorted(undefined)}")

    def path(self, word: str) -> str:
        return self.names.get(word, word)

    def value(self, word: str, item: Item) -> Mapping[str, Any] | None:
        return self.values[word] if word.startswith(":") else item.get(self.path(word))

    def holds(self, condition: str, item: Item) -> bool:
        """Return whether a condition or filter holds; an empty one does."""
        return not condition or self.evaluate(_parse_condition(condition), item)

    def projected(self, projection: str, item: Item) -> dict[str, Any]:
        """Return the attributes that a projection names; an empty one names all."""
        if not projection:
            return dict(item)
        paths = [self.path(word.strip()) for word in projection.split(",")]
        if len(set(paths)) < len(paths):
            raise invalid("Two document paths overlap with each other")
        return {path: item[path] for path in paths if path in item}

    def key_condition(self, text: str, hash_key: str, range_key: str) -> KeyCondition:
        """Read the key condition of a query: `hash = :value`, and maybe a comparison of the range key."""
        match _parse_condition(text):
            case ("AND", ("=", path, value), other) if self.path(path) == hash_key:
                asked = other
            case ("=", path, value):
                asked = None
            case _:
                raise invalid("Query condition missed key schema element", "Query")
        if self.path(path) != hash_key or (asked and self.path(asked[1]) != range_key):
            raise invalid("Query condition missed key schema element", "Query")
        if asked and asked[0] not in ("=", "<", "<=", ">", ">=", "begins_with"):
            raise invalid("Query key condition not supported", "Query")
        return KeyCondition(self.values[value]["S"], asked, self)

    def evaluate(self, node: _Node, item: Item) -> bool:
        """Return whether a parsed condition holds."""
        match node:
            case ("OR", left, right):
                return self.evaluate(left, item) or self.evaluate(right, item)
            case ("AND", left, right):
                return self.evaluate(left, item) and self.evaluate(right, item)
            case ("NOT", inner):
                return not self.evaluate(inner, item)
            case ("PARENTHESES", inner):
                return self.evaluate(inner, item)
            case ("attribute_exists", word):
                return self.path(word) in item
            case ("attribute_not_exists", word):
                return self.path(word) not in item
            case ("begins_with", left, right):
                value, prefix = self.value(left, item), self.value(right, item)
                return bool(value and prefix and value.get("S", "").startswith(prefix["S"]))
            case ("contains", left, right):
                value, part = self.value(left, item), self.value(right, item)
                return bool(value and part and part["S"] in value.get("S", ""))
            case (operator, left, right):
                return _compare(operator, self.value(left, item), self.value(right, item))
        raise AssertionError(node)

    def updated(self, update: str, item: Item) -> Item:
        """Return the item as an update makes it."""
        clauses = _parse_update(update)
        paths = [self.path(clause[1]) for clause in clauses]
        if len(set(paths)) < len(paths):
            raise invalid("Two document paths overlap with each other")
        new = dict(item)
        for (kind, _, *operands), path in zip(clauses, paths, strict=True):
            match kind:
                case "SET":
                    new[path] = self.computed(operands[0], item)
                case "ADD":
                    before = item.get(path, {"N": "0"})
                    new[path] = _number(_decimal(before) + _decimal(self.value(operands[0], item)))
                case "REMOVE":
                    new.pop(path, None)
        return new

    def computed(self, node: _Node, item: Item) -> Mapping[str, Any]:
        match node:
            case ("OPERAND", word):
                found = self.value(word, item)
            case ("IF_NOT_EXISTS", path, default):
                found = item.get(self.path(path)) or self.computed(default, item)
            case (operator, left, right):
                one, other = _decimal(self.computed(left, item)), _decimal(self.computed(right, item))
                found = _number(one + other if operator == "+" else one - other)
        if found is None:
            raise invalid("The provided expression refers to an attribute that does not exist in the item")
        return found


def _compare(operator: str, left: Mapping[str, Any] | None, right: Mapping[str, Any] | None) -> bool:
    """Compare as DynamoDB does: with what is absent, or of another type, nothing is true but `<>`."""
    if left is None or right is None or left.keys() != right.keys():
        return operator == "<>" and left is not right
    one, other = _comparable(left), _comparable(right)
    match operator:
        case "=":
            return bool(one == other)
        case "<>":
            return bool(one != other)
        case "<":
            return bool(one < other)
        case "<=":
            return bool(one <= other)
        case ">":
            return bool(one > other)
        case _:
            return bool(one >= other)


def _comparable(value: Mapping[str, Any]) -> Any:
    match value:
        case {"N": number}:
            return Decimal(number)
        case {"S": text}:
            return text.encode()
        case {"B": content}:
            return bytes(content)
        case {"SS": texts}:
            return frozenset(texts)
        case _:
            return value["BOOL"]


def _decimal(value: Mapping[str, Any] | None) -> Decimal:
    if value is None or "N" not in value:
        raise invalid("An operand in the update expression has an incorrect data type")
    return Decimal(value["N"])


def _number(number: Decimal) -> Mapping[str, Any]:
    return {"N": str(number)}
