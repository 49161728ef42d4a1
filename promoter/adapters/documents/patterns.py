r"""How much the regular expressions of a policy may cost, weighed before any is compiled; and how many conditions in CEL.

The expressions are Rust's: linear in the text that they search, but not in their own length. `(\pL{20}){10}` has 13
characters, and took 0.15 s and 11 MiB. A weight is an upper bound of the size of what is compiled, in units of about
half a KiB: the atoms, each as often as the counts around it repeat it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice

from promoter.adapters.documents.nodes import MappingNode, YamlNode, SequenceNode

PATTERN_KEY = "matches"
PATTERN_COUNT_LIMIT = 100
PATTERN_WEIGHT_LIMIT = 30_000
"""About 16 MiB, and a third of a second."""

EXPRESSION_KEY = "expression"
EXPRESSION_LIMIT = 100
"""Each set of metrics and holders that expressions name takes some 5 ms to prepare."""

TOO_MANY_PATTERNS = f"more than {PATTERN_COUNT_LIMIT} patterns (`{PATTERN_KEY}`) in one policy"
TOO_MANY_EXPRESSIONS = f"more than {EXPRESSION_LIMIT} expressions in one policy"
TOO_LARGE_PATTERNS = f"the patterns (`{PATTERN_KEY}`) of this policy are too large, taken together"
TOO_LARGE_PATTERNS_FIX = "counts such as `{20}` of `\\w` or `\\p{...}` cost most: name the characters, as in `[A-Za-z0-9_]`"

_TOKEN = re.compile(
    r"""(?P<wide>\\(?:[pP]\{[^}]*\}|[pP].|[wW]))
    | (?P<narrow>\\[dDsS])
    | \{\s*(?P<least>\d*)\s*(?:,\s*(?P<most>\d*)\s*)?\}
    | \[\^?\]? | \\. | .""",
    re.DOTALL | re.VERBOSE,
)
_WEIGHTS = {"wide": 110, "narrow": 25}
_ATOM_WEIGHT = 2
_VERBOSE = re.compile(r"\(\?[A-Za-z]*x")
_COUNT_MAX = 100_000


def estimate_pattern_weight(pattern: str) -> int:
    """An upper bound of the compiled size, in units of about half a KiB."""
    total, product = _weigh_tokens(pattern)
    # With the flag x, comments may stand between an atom and its count: take every count as one of everything.
    return total * product if _VERBOSE.search(pattern) else total


def find_excessive_pattern(root: YamlNode) -> tuple[YamlNode, str, str | None] | None:
    """The pattern with which a policy has too many, or too large ones; what is wrong, and what to do. None: all are fine."""
    over = next(islice(_find_texts(root, EXPRESSION_KEY), EXPRESSION_LIMIT, None), None)
    if over is not None:
        return over, TOO_MANY_EXPRESSIONS, None
    total = 0
    for count, node in enumerate(_find_texts(root, PATTERN_KEY), start=1):
        total += estimate_pattern_weight(str(node.value))
        if count > PATTERN_COUNT_LIMIT:
            return node, TOO_MANY_PATTERNS, None
        if total > PATTERN_WEIGHT_LIMIT:
            return node, TOO_LARGE_PATTERNS, TOO_LARGE_PATTERNS_FIX
    return None


def _weigh_tokens(pattern: str) -> tuple[int, int]:
    """The weight by nesting, and the product of all counts."""
    frames, last, product, classes = [0], 0, 1, 0
    for token in _TOKEN.finditer(pattern):
        kind, text = token.lastgroup, token[0]
        if text[0] == "[" or (text == "(" and not classes):
            frames += [] if classes else [0]
            classes += text[0] == "["
            frames[-1] += _ATOM_WEIGHT
        elif (text == "]" and classes) or (text == ")" and not classes and len(frames) > 1):
            classes -= text == "]"
            if not classes:
                last = frames.pop()
                frames[-1] += last
        elif kind in ("least", "most") and not classes:
            times = max(_parse_count(token["least"]), _parse_count(token["most"]), 1)
            frames[-1] += last * (times - 1)
            last *= times
            product = min(product * times, _COUNT_MAX)
        else:
            last = _WEIGHTS.get(kind or "", _ATOM_WEIGHT)
            frames[-1] += last
    return sum(frames), product


def _parse_count(digits: str | None) -> int:
    return min(int(digits), _COUNT_MAX) if digits and len(digits) < len(str(_COUNT_MAX)) else _COUNT_MAX if digits else 0


def _find_texts(node: YamlNode, sought: str) -> Iterator[YamlNode]:
    """The texts under that key, wherever it stands."""
    inside = node.target
    if isinstance(inside, MappingNode):
        for key, child in inside.pairs.items():
            if key == sought and isinstance(child.value, str):
                yield child
            else:
                yield from _find_texts(child, sought)
    elif isinstance(inside, SequenceNode):
        for child in inside.items:
            yield from _find_texts(child, sought)
