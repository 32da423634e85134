"""Which side of the body a label's name says, and which names are each other's mirror image.

One rule for all who ask: checks of data, mirroring in training and prediction, DICOM's codes.
docs/checking.md says it in words ("How sides are recognised").
"""

import re
import unicodedata
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

LEFT, RIGHT = "left", "right"
_OTHER = {LEFT: RIGHT, RIGHT: LEFT}

# English, German and Dutch, French, Spanish, Portuguese, Italian, Latin, Chinese and Japanese.
_WORDS = {
    LEFT: "left lt lh links linke linker linkes linken linkem linksseitig gauche gauches izquierdo "
    "izquierda izquierdos izquierdas esquerdo esquerda sinistro sinistra sinister sinistrum 左",
    RIGHT: "right rt rh rechts rechte rechter rechtes rechten rechtem rechtsseitig droit droite "
    "droits droites derecho derecha derechos derechas direito direita destro destra dexter dextra "
    "dextrum 右",
}
_SIDE_OF_WORD = {word: side for side, words in _WORDS.items() for word in words.split()}
_SIDE_OF_LETTER = {"l": LEFT, "r": RIGHT}
_SIDE_OF_END = {"li": LEFT, "re": RIGHT}  # German, at the end of a name
_SIDE_OF_INITIAL = {"g": LEFT, "d": RIGHT}  # French
_INITIALS = _SIDE_OF_INITIAL | _SIDE_OF_END
_LOBE = re.compile(r"([lr])(ul|ml|ll)")  # of the lungs, as radiotherapy calls them: LUL, RML
# `lungleft`, `leftkidney`: at an end of a longer word; the second line's are other words.
_JOINED = re.compile(r"(left|right)(.{3,})|(.{3,}?)(left|right)")
_NOT_JOINED = re.compile(r"leftovers?|righteous|(birth|copy|down|forth|out|play)rights?")
# "left over" is no place, and whoever is right-handed has two hands.
_PHRASE = re.compile(r"left[\W_]*overs?|(left|right)[\W_]*handed", re.IGNORECASE)
_WITHIN = re.compile(r"(.*)(left|right)(.*)")

_ARTICLE = re.compile(r"(?<![^\W_])[ldLD]['\u2019](?=\w)")  # l'oreille, d'oreille
_CAMEL = re.compile(
    r"(?<=[^\W\d_A-Z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][^\W\d_A-Z])|(?<=[左右])|(?=[左右])"
)
_DIGITS = re.compile(r"(?<=\d)(?=\D)|(?<=\D)(?=\d)")
_LEVEL = re.compile(r"[lr]\d+", re.IGNORECASE)  # L5, of the spine


@dataclass(frozen=True)
class Sides:
    """What a set of names says of left and right.

    Args:
        pairs: keys of names that differ in the side alone: (left, right).
        single: keys of the other names with a side, whose partner is not among the names.
    """

    pairs: tuple[tuple[int, int], ...]
    single: tuple[int, ...]

    @property
    def named(self) -> tuple[int, ...]:
        """Keys of all names with a side."""
        return tuple(sorted({*self.single, *(key for pair in self.pairs for key in pair)}))


class _Reading(NamedTuple):
    """One way to read a name: a side, and what the name says beside it."""

    side: str
    rest: tuple[str, ...]


def find_sides(names: Mapping[int, str]) -> Sides:
    """Pairs of left and right among names, and names with a side that have no partner.

    Example:
        >>> find_sides({1: "kidney_left", 2: "Kidney, right", 3: "Lens_L", 4: "liver"})
        Sides(pairs=((1, 2),), single=(3,))
    """
    words = {key: words_of(name) for key, name in names.items()}
    one_side = {key for key, each in words.items() if len(_OTHER.keys() & {*each}) == 1}
    # "zone d" and "zone g" are two of a list where there is a "zone a" too.
    listed = {
        (each[:place], each[place + 1 :])
        for each in words.values()
        for place, word in enumerate(each)
        if len(word) == 1 and word.isalpha() and word not in _INITIALS
    }
    keys: dict[_Reading, int] = {}
    for key, each in words.items():
        for reading in _readings(each, listed):
            keys.setdefault(reading, key)
    pairs: list[tuple[int, int]] = []
    paired: set[int] = set()
    for (side, rest), left in keys.items():
        right = keys.get(_Reading(RIGHT, rest))
        if side == LEFT and right is not None and len({left, right} - paired) == 2:
            pairs.append((left, right))
            paired |= {left, right}
    return Sides(tuple(sorted(pairs)), tuple(sorted(one_side - paired)))


def words_of(name: str) -> tuple[str, ...]:
    """The words of a name in lower case; those that name a side for sure are "left" and "right".

    Where a whole word names a side, single letters do not: "lobe d'oreille gauche", "R wave, left".

    Example:
        >>> words_of("Left-Hippocampus"), words_of("Lens_L"), words_of("vertebra L1")
        (('left', 'hippocampus'), ('lens', 'left'), ('vertebra', 'l1'))
    """
    words = [part for word in _split(name) for part in _parts(word)]
    sides_of: tuple[Mapping[str, str], ...] = (_SIDE_OF_WORD, _SIDE_OF_LETTER)
    for side_of in sides_of:
        if not side_of.keys().isdisjoint(words):
            return tuple(side_of.get(word, word) for word in words)
    return (*words[:-1], *(_SIDE_OF_END.get(word, word) for word in words[-1:]))


def _split(name: str) -> Iterator[str]:
    """At separators, capitals and digits, in lower case."""
    plain = _PHRASE.sub("", unicodedata.normalize("NFKC", name))
    for chunk in re.split(r"[\W_]+", _ARTICLE.sub("", plain)):
        for word in filter(None, _CAMEL.split(chunk)):
            level = found[0] if (found := _LEVEL.match(word)) else ""
            parts = (level, *_DIGITS.split(word.removeprefix(level)))
            yield from (part.casefold() for part in parts if part)


def _parts(word: str) -> tuple[str, ...]:
    """A side and what is written together with it."""
    if lobe := _LOBE.fullmatch(word):
        return _SIDE_OF_LETTER[lobe[1]], lobe[2]
    joined = _JOINED.fullmatch(word)
    if joined is None or _NOT_JOINED.fullmatch(word):
        return (word,)
    return tuple(filter(None, joined.groups()))


def _readings(
    words: tuple[str, ...], listed: Collection[tuple[tuple[str, ...], ...]]
) -> Iterator[_Reading]:
    """A sure side, or else every guess; a guess counts only where its mirror image is a name too.

    Names with both sides ("left to right shunt") are mirrored word by word.

    Args:
        words: as of `words_of`.
        listed: what stands before and after the single letters of lists.
    """
    found = [word for word in words if word in _OTHER]
    if len({*found}) == 1:
        yield _Reading(found[0], tuple(word for word in words if word not in _OTHER))
    elif found:
        mark = {found[0]: "=", _OTHER[found[0]]: "≠"}
        yield _Reading(found[0], tuple(mark.get(word, word) for word in words))
    else:
        for place, word in enumerate(words):
            before, after = words[:place], words[place + 1 :]
            if word in _INITIALS and (before, after) not in listed:
                yield _Reading(_INITIALS[word], before + after)
            for side, rest in _guesses(word):
                yield _Reading(side, before + rest + after)


def _guesses(word: str) -> Iterator[_Reading]:
    """Sides that may be written into a word, with the rest of it: lkidney, kidneyr, L1."""
    if within := _WITHIN.fullmatch(word):
        yield _Reading(within[2], (within[1], within[3]))
    if len(word) > 1 and word[0] in _SIDE_OF_LETTER:
        yield _Reading(_SIDE_OF_LETTER[word[0]], (word[1:],))
    if len(word) > 1 and word[-1] in _SIDE_OF_LETTER:
        yield _Reading(_SIDE_OF_LETTER[word[-1]], (word[:-1],))
