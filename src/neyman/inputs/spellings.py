"""Expressions as ROOT, C++ and Python's ``and`` write them, to how they are written here: for the hint of an error."""

from __future__ import annotations

import re
from collections.abc import Callable

__all__ = ["in_python"]


def __dir__() -> list[str]:
    return __all__


_NAMES: tuple[tuple[str, str | Callable[[re.Match[str]], str]], ...] = (
    (r"\bTMath::(Pi|Abs|Max|Min|Sqrt|Log|Exp|Sin|Cos|Tan|Power|CosH|SinH|TanH)\b", lambda m: m[1].lower()),
    (r"\bTMath::ATan2\b", "arctan2"),
    (r"\bTMath::Log10\b", "log10"),
    (r"\bpi\(\)", "pi"),
    (r"\bstd::", ""),
    (r"\b(?:TMath|ROOT::VecOps|ROOT::Math)::", ""),
    (r"\b(Sum|Max|Min)\$\s*\(", lambda m: f"{m[1].lower()}("),
    (r"\bLength\$\s*\(", "len("),
    (r"\bEntry\$", "entry"),
    (r"\bAlt\$\s*\(\s*(\w+)\s*\[\s*(\d+)\s*\]\s*,\s*([^()]+)\)", r"where(num(\1) > \2, \1[:, \2], \3)"),
    (r"\b(Max|Min|Abs|Sqrt|Log|Exp|Sum|Any|All)(?=\()", lambda m: m[1].lower()),
    (
        r"\b([A-Za-z_][\w.]*(?:\[[^\[\]]*\])?)\.(max|min|sum|any|all|mean|size)\(\)",
        lambda m: f"{_method(m[2])}({m[1]})",
    ),
    (r"\b([A-Za-z_][\w.]*)\.at\((\d+)\)", r"\1[:, \2]"),
    (r"\b([A-Za-z_][\w.]*)\[(\d+)\]", r"\1[:, \2]"),
    (r"\^", "**"),
)
_LEVELS = ((r"\|\||\bor\b|\|", "|"), (r"&&|\band\b|&", "&"))
_COMPARISON = re.compile(r"==|!=|<=|>=|<|>")


def in_python(text: str) -> str | None:
    """Return what a text would be here, as far as it can be guessed; ``None`` where nothing is to be changed.

    Args:
        text: an expression that is none here.

    Example:
        >>> in_python("nMuon >= 2 && !(TMath::Abs(eta) > 2.4 || Sum$(pt > 30) == 0)")
        '(nMuon >= 2) & ~((abs(eta) > 2.4) | (sum(pt > 30) == 0))'
        >>> in_python("njet > 1 ? mjj : 0"), in_python("80 < m < 100"), in_python("pt.max()")
        ('where(njet > 1, mjj, 0)', '(80 < m) & (m < 100)', 'max(pt)')
    """
    new = " ".join(text.split())
    for pattern, name in _NAMES:
        new = re.sub(pattern, name, new)
    new = _spelt(new)
    return new if new.replace(" ", "") != text.replace(" ", "") else None


def _method(name: str) -> str:
    return "len" if name == "size" else name


def _spelt(text: str) -> str:
    """Return a text with its conditions combined as they are here, those in parentheses as well."""
    text = text.strip()
    if question := _split(text, r"\?"):
        before, after = question[0], text[len(question[0]) + 1 :]
        if len(parts := _split(after, r":(?!:)")) > 1:
            return f"where({_spelt(before)}, {_spelt(parts[0])}, {_spelt(after[len(parts[0]) + 1 :])})"
    for pattern, joined in _LEVELS:
        if parts := _split(text, pattern):
            return f" {joined} ".join(_operand(part) for part in parts)
    if match := re.match(r"(?:!(?!=)|not\b)\s*", text):
        return f"~{_operand(text[match.end() :])}"
    chain = _split(text, _COMPARISON.pattern)
    if len(chain) > 2:
        signs = [match[0] for match in _COMPARISON.finditer(_outside(text))]
        return " & ".join(
            f"({a.strip()} {sign} {b.strip()})" for a, sign, b in zip(chain, signs, chain[1:], strict=False)
        )
    return _inside(text)


def _operand(text: str) -> str:
    text = text.strip()
    bare = text[1:-1] if text.startswith("(") and _closes(text) == len(text) - 1 else None
    if bare is not None:
        return f"({_spelt(bare)})"
    spelt = _spelt(text)
    return f"({spelt})" if _COMPARISON.search(_outside(spelt)) else spelt


def _inside(text: str) -> str:
    """Return a text with the contents of its parentheses spelt, each argument for itself."""
    out, i = "", 0
    while i < len(text):
        end = _closes(text[i:]) if text[i] == "(" else None
        if end is None:
            out += text[i]
            i += 1
        else:
            out += (
                f"({', '.join(_spelt(part) for part in _split(text[i + 1 : i + end], ',') or [text[i + 1 : i + end]])})"
            )
            i += end + 1
    return out


def _split(text: str, pattern: str) -> list[str]:
    """Return the parts of a text between what matches outside of all brackets; nothing where nothing matches."""
    parts, last = [], 0
    for match in re.finditer(pattern, _outside(text)):
        parts.append(text[last : match.start()])
        last = match.end()
    return [*parts, text[last:]] if parts else []


def _outside(text: str) -> str:
    """Return a text of the same length with blanks for all that is in brackets."""
    out, depth = "", 0
    for character in text:
        depth -= character in ")]"
        out += character if depth == 0 and character not in ")]" else " " if depth else character
        depth += character in "(["
    return out


def _closes(text: str) -> int | None:
    """Return where the bracket that a text starts with is closed."""
    depth = 0
    for i, character in enumerate(text):
        depth += (character in "([") - (character in ")]")
        if depth == 0:
            return i
    return None
