"""What the cases of a fold were when it was begun, by content: `cases.json` in its folder.

A fold that is continued goes on with the cases as they are now; that they have changed is said, and
another data set is refused.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from attnseg.datasets import Case
from attnseg.errors import DataError, RunError
from attnseg.files import load_json, write_text
from attnseg.images.identity import Identity, compare
from attnseg.training.cache import CachedCase, sources_of
from attnseg.whereabouts import recalled, recorded

# So many cases are named in a message.
_NAMED = 5


def save_cases(path: Path, cached: Sequence[CachedCase]) -> None:
    """Note what the cases of a fold that begins are; paths relative to the fold's folder."""
    found = {
        case.name: [
            asdict(replace(each, path=recorded(each.path, path.parent))) for each in case.sources
        ]
        for case in cached
    }
    write_text(path, json.dumps(found, indent=1) + "\n")


def load_cases(path: Path) -> dict[str, tuple[Identity, ...]]:
    """Case → what its files were; none where nothing was noted, as by older versions."""
    try:
        told = load_json(path)
        known = {name: tuple(Identity(**each) for each in found) for name, found in told.items()}
        return {
            name: tuple(replace(one, path=str(recalled(one.path, path.parent))) for one in found)
            for name, found in known.items()
        }
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def changes(path: Path, cached: Sequence[CachedCase]) -> str:
    """What is to be said where cases of a fold that goes on have changed since it was begun.

    Args:
        path: where they were noted.
        cached: its cases now.

    Returns:
        A sentence; "" where nothing has changed or nothing was noted.

    Raises:
        RunError: not one of several cases is what it was: another data set.
    """
    known = load_cases(path)
    now = {case.name: _content(case.sources) for case in cached}
    before = {name: _content(found) for name, found in known.items()}
    if not before or before == now:
        return ""
    if len(before) > 1 and not before.items() & now.items():
        raise RunError(
            f"{path.parent}: none of its {len(before)} training cases is what it was when this "
            "fold was begun: this is another data set; give another folder with -o, or begin it "
            "anew with --overwrite"
        )
    names = sorted(name for name in before.keys() | now.keys() if before.get(name) != now.get(name))
    return (
        f"{path.parent}: {_listed(names)} changed since it was begun; it goes on with the data as "
        "they are now, and --overwrite begins it anew"
    )


def changes_since(path: Path, cases: Mapping[str, Case]) -> str:
    """The same of a fold that is finished: only files of another size or time are opened.

    Args:
        path: where its cases were noted.
        cases: by name, as they are now.
    """
    names = sorted(
        name
        for name, known in load_cases(path).items()
        if name not in cases or _differs(known, cases[name])
    )
    if not names:
        return ""
    return (
        f"{path.parent}: {_listed(names)} changed since it was trained; its model is left as it "
        "is, and --overwrite trains it anew"
    )


def _differs(known: Sequence[Identity], case: Case) -> bool:
    sources = sources_of(case)
    try:
        found = [compare(one, path)[0] for one, path in zip(known, sources, strict=False)]
    except (DataError, OSError):
        return True
    return len(known) != len(sources) or set(found) != {"same"}


def _content(sources: Sequence[Identity]) -> tuple[str, ...]:
    return tuple(each.sha256 for each in sources)


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    verb = "has" if len(names) == 1 else "have"
    return f"{len(names)} training case(s), {', '.join(names[:_NAMED])}{more}, {verb}"
