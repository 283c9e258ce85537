"""The grammar of states and collective variables: text -> a tree, and errors that name the place.

    state     = and {"or" and}        and  = not {"and" not}        not = "not" not | "(" state ")" | condition
    condition = quantity "in" NUMBER ".." NUMBER  |  quantity ("<" | "<=" | ">" | ">=") NUMBER
    quantity  = "torsion" (NAME | ATOM ATOM ATOM ATOM) | "angle" ATOM ATOM ATOM | "distance" ATOM ATOM
              | "rmsd" FILE ["of" SELECTION] | "rg" ["of" SELECTION]
    variable  = quantity ["in" NUMBER ".." NUMBER]

ATOM is RESIDUE:NAME or a number. Nothing here knows a molecule: `quantities` gives the words their meaning.
"""

import difflib
import re
from collections.abc import Iterable
from typing import NamedTuple

from jbg.interfaces import ConfigError

TOKEN = re.compile(
    r"""\s*(?:
    (?P<text>"[^"]*"|'[^']*')
    |(?P<atom>-?\d+[A-Za-z]?:[\w'*+-]+)
    |(?P<number>[-+]?(?:\d+(?:\.(?!\.)\d*)?|\.\d+)(?:[eE][-+]?\d+)?(?![\w:]))
    |(?P<word>[A-Za-z][\w'-]*)
    |(?P<symbol>\.\.|<=|>=|[<>(),])
    )""",
    re.VERBOSE,
)
ATOMS = {"torsion": 4, "angle": 3, "distance": 2}
QUANTITIES = (*ATOMS, "rmsd", "rg")
SELECTIONS = ("all", "heavy", "backbone", "alpha")
COMPARISONS = ("<", "<=", ">", ">=")
WORDS = ("in", "and", "or", "not", "of")


class Token(NamedTuple):
    """A word of the text: what it is (a group of `TOKEN`, or "end"), its letters, and where it begins."""

    kind: str
    text: str
    place: int


class Measured(NamedTuple):
    """A quantity: its first word, and the words that say of what."""

    kind: Token
    of: tuple[Token, ...]


class Range(NamedTuple):
    """A quantity between two numbers, as typed."""

    quantity: Measured
    low: float
    high: float
    at: Token


class Comparison(NamedTuple):
    """A quantity beside one number, as typed."""

    quantity: Measured
    sign: str
    bound: float
    at: Token


class Joined(NamedTuple):
    """Conditions joined by "and" or "or", or a single one after "not"."""

    by: str
    parts: tuple["Condition", ...]


Condition = Range | Comparison | Joined


class Text(NamedTuple):
    """A definition, and whose it is: the beginning of every error."""

    whose: str
    text: str

    def error(self, token: Token, message: str, known: Iterable[str] = ()) -> ConfigError:
        """The error at a word, with the nearest of the known ones, or a few of them."""
        where = "at its end" if token.kind == "end" else f"at character {token.place + 1}"
        return ConfigError(
            f"{self.whose}: {message}, {where} of {self.text!r}{nearest(token.text, known)}"
        )


def nearest(given: str, known: Iterable[str]) -> str:
    """A hint that ends an error: the nearest known name, else the first few; empty without names."""
    names = list(dict.fromkeys(known))
    if not names:
        return ""
    close = difflib.get_close_matches(given, names, n=1, cutoff=0.5)
    if close:
        return f": did you mean {close[0]}?"
    more = ", ..." if len(names) > 8 else ""
    return (
        f": there are {', '.join(names[:8])}{more}" if len(names) > 1 else f": expected {names[0]}"
    )


def parse_condition(text: Text) -> Condition:
    """The tree of a state.

    Raises:
        ConfigError: text that does not follow the grammar.
    """
    parser = _Parser(text)
    found = parser.any_of()
    parser.finish("'and' or 'or'")
    return found


def parse_variables(text: Text) -> list[tuple[Measured, Range | None]]:
    """The quantities of a collective variable, separated by commas, each with the range it is studied in, if any.

    Raises:
        ConfigError: text that does not follow the grammar.
    """
    parser, found = _Parser(text), []
    while True:
        quantity = parser.quantity()
        found.append((quantity, parser.range_of(quantity) if parser.skip("in") else None))
        if not parser.skip(","):
            break
    parser.finish("'in' or ','")
    return found


def _tokens(text: Text) -> list[Token]:
    found, place, line = [], 0, text.text
    end = len(line.rstrip())
    while place < end:
        match = TOKEN.match(line, place)
        if match is None:
            start = place + len(line[place:]) - len(line[place:].lstrip())
            word = line[start:].split()[0]
            raise text.error(Token("", word, start), f"cannot read {word!r}")
        kind = str(match.lastgroup)
        found.append(Token(kind, match[kind], match.start(kind)))
        place = match.end()
    return [*found, Token("end", "", end)]


class _Parser:
    """Recursive descent, one word ahead."""

    def __init__(self, text: Text):
        self.text, self.tokens, self.next = text, _tokens(text), 0

    @property
    def ahead(self) -> Token:
        return self.tokens[self.next]

    def take(self) -> Token:
        token = self.ahead
        self.next += token.kind != "end"
        return token

    def skip(self, word: str) -> bool:
        found = self.ahead.text == word and self.ahead.kind in ("word", "symbol")
        self.next += found
        return found

    def expected(self, what: str, known: Iterable[str] = ()) -> ConfigError:
        found = "nothing" if self.ahead.kind == "end" else repr(self.ahead.text)
        return self.text.error(self.ahead, f"expected {what}, got {found}", known)

    def finish(self, what: str) -> None:
        if self.ahead.kind != "end":
            raise self.expected(f"{what}, or the end")

    def any_of(self) -> Condition:
        return self._joined("or", self._all_of)

    def _all_of(self) -> Condition:
        return self._joined("and", self._single)

    def _joined(self, word, part) -> Condition:
        parts = [part()]
        while self.skip(word):
            parts.append(part())
        return parts[0] if len(parts) == 1 else Joined(word, tuple(parts))

    def _single(self) -> Condition:
        if self.skip("not"):
            return Joined("not", (self._single(),))
        if self.skip("("):
            inside = self.any_of()
            if not self.skip(")"):
                raise self.expected("')'")
            return inside
        quantity = self.quantity()
        if self.skip("in"):
            return self.range_of(quantity)
        at = self.ahead
        if at.text not in COMPARISONS:
            raise self.expected("'in', '<' or '>' after the quantity")
        self.take()
        return Comparison(quantity, at.text, self._number(), at)

    def range_of(self, quantity: Measured) -> Range:
        at = self.ahead
        low = self._number()
        if not self.skip(".."):
            raise self.expected("'..' between the two ends")
        return Range(quantity, low, self._number(), at)

    def quantity(self) -> Measured:
        kind = self.ahead
        if kind.kind != "word" or kind.text not in QUANTITIES:
            raise self.expected("a quantity", QUANTITIES)
        self.take()
        if kind.text in ATOMS:
            return Measured(kind, self._atoms(kind.text))
        of = []
        if kind.text == "rmsd":
            of.append(self._file())
        if self.skip("of"):
            of.append(self._selection())
        return Measured(kind, tuple(of))

    def _atoms(self, kind: str) -> tuple[Token, ...]:
        first = self.ahead
        if kind == "torsion" and first.kind == "word" and first.text not in WORDS:
            return (self.take(),)
        n, found = ATOMS[kind], []
        while len(found) < n:
            if self.ahead.kind not in ("atom", "number"):
                name = " or a name such as phi2" if kind == "torsion" else ""
                raise self.expected(f"{n} atoms (RESIDUE:NAME or numbers){name} after {kind!r}")
            found.append(self.take())
        return tuple(found)

    def _file(self) -> Token:
        if self.ahead.kind != "text":
            raise self.expected("a file in quotes after 'rmsd'")
        return self.take()

    def _selection(self) -> Token:
        token = self.ahead
        if token.kind != "text" and token.text not in SELECTIONS:
            raise self.expected(
                "a selection of mdtraj in quotes, or one of a few words", SELECTIONS
            )
        return self.take()

    def _number(self) -> float:
        if self.ahead.kind != "number":
            raise self.expected("a number")
        return float(self.take().text)
