"""One thing changed in a file: its length, a bit, a number's size, sign or type, text, order."""

import hashlib
import json
import os
import random
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load, save

from attnseg.models.model_file import content_hash, sign

# What a value may become, as it stands in JSON or YAML.
LITERALS = (
    "-1", "0", "-0", "1", "2", "3.0", "1.5", "255", "65536", "1000000", "1000000000", "1e-300",
    "1e-6", "0.01", "1e308", "-1e308", "1e400", "NaN", "-Infinity", "9223372036854775808",
    "-9223372036854775809", "9" * 5000, "true", "false", "null", "[]", "{}", '""', '"  "', '"3"',
    '"\\u0663"', '"../../outside"', '"/outside"', '"CON"', '"a/b"', '"\\u001b[31mred"',
    '"\\u009b31m"',
    '"\\u0000"', '"\\ud800"', '"\\u202eright"', '"two\\nlines"', '"<script>alert(1)</script>"',
    '"' + "long" * 30_000 + '"', "[" * 3000 + "]" * 3000, '{"a":' * 3000 + "1" + "}" * 3000,
    "[" + "1," * 50_000 + "1]",
)  # fmt: skip
YAML_LITERALS = (
    "!!python/object/apply:os.system ['touch pwned']", "yes", "012", "1:30:00", "2026-02-31",
    "2026-02-03", ".inf", ".nan", "*unknown", "&a [*a]", "0x10", "1_000", "!!binary aGk=", "? a",
    "&x [&y [1, 1], *y]", "~", "1e3", "!!set {a, b}", "{<<: {a: 1}}",
)  # fmt: skip
_HOLE = "@hole@"


def text(rng: random.Random, content: Any, *, yaml: bool = False) -> tuple[str, str]:
    """JSON (which is YAML too) of `content` with one thing changed, and what that was."""
    tree = json.loads(json.dumps(content))
    places = list(_places(tree))
    holder, key, where = rng.choice(places)
    value = holder[key]
    kind = rng.choices(
        ("literal", "remove", "add", "twice", "order", "size", "sign", "type", "letter"),
        (8, 1, 1, 1, 1, 2, 1, 2, 1),
    )[0]
    literal = None
    if kind == "remove":
        del holder[key]
    elif kind == "add" and isinstance(holder, dict):
        holder["unheard_of"] = value
    elif kind == "add":
        holder.insert(key, value)
    elif kind == "twice" and isinstance(holder, dict):
        changed = rng.choice(LITERALS)
        literal = f"{json.dumps(value)}, {json.dumps(key)}: {changed}"
        kind = f"twice, then {changed[:40]}"
    elif kind == "order" and isinstance(value, list) and len(value) > 1:
        rng.shuffle(value)
    elif kind == "size" and isinstance(value, int | float) and not isinstance(value, bool):
        factor = rng.choice((0.5, 2, 3, 1000, 10**9))
        holder[key] = type(value)(value * factor)
        kind = f"size × {factor}"
    elif kind == "sign" and isinstance(value, int | float) and not isinstance(value, bool):
        holder[key] = -value
    elif kind == "type":
        other = rng.choice((str, lambda each: [each], lambda each: {"a": each}, bool))
        holder[key] = other(value)
        kind = f"type, now {str(holder[key])[:40]}"
    elif kind == "letter" and isinstance(value, str) and value:
        place = rng.randrange(len(value))
        holder[key] = value[:place] + chr(ord(value[place]) ^ 1) + value[place + 1 :]
    else:
        literal = rng.choice(LITERALS + (YAML_LITERALS * 2 if yaml else ()))
        kind = f"literal {literal[:60]}"
    if literal is not None:
        holder[key] = _HOLE
    said = json.dumps(tree, indent=1 if yaml else None).replace(f'"{_HOLE}"', literal or "")
    return said, f"{where}: {kind}"


def _places(tree: Any, where: str = "") -> list[tuple[Any, Any, str]]:
    found = []
    items = tree.items() if isinstance(tree, dict) else enumerate(tree)
    for key, value in items:
        found.append((tree, key, f"{where}.{key}"))
        if isinstance(value, dict | list):
            found += _places(value, f"{where}.{key}")
    return found


def lines(rng: random.Random, content: bytes) -> tuple[bytes, str]:
    """One line of JSON lines changed, twice there, gone, or cut."""
    rows = content.splitlines()
    at = rng.randrange(len(rows))
    kind = rng.choice(("change", "change", "change", "twice", "gone", "cut"))
    if kind == "change":
        changed, said = text(rng, json.loads(rows[at]))
        rows[at] = changed.encode("utf-8", "surrogatepass")
        kind = f"line {at}{said}"
    elif kind == "twice":
        rows.insert(at, rows[at])
    elif kind == "gone":
        del rows[at]
    else:
        rows[-1] = rows[-1][: len(rows[-1]) // 2]
    return b"\n".join(rows) + b"\n", kind


def raw(rng: random.Random, content: bytes) -> tuple[bytes, str]:
    """Bytes changed as a bad disk, a cut copy or a bad hand would change them."""
    kind = rng.choice(("bit", "bit", "bit", "cut", "cut", "longer", "zeros", "gap", "swap"))
    # The beginning, where sizes and names stand, is hit as often as all else.
    end = rng.choice((8, 64, 2000, len(content)))
    at = rng.randrange(max(1, min(end, len(content))))
    some = rng.choice((1, 8, 512))
    changed = bytearray(content)
    if kind == "bit":
        changed[at] ^= 1 << rng.randrange(8)
    elif kind == "cut":
        del changed[at:]
    elif kind == "longer":
        changed += bytes(some)
    elif kind == "zeros":
        changed[at : at + some] = bytes(len(changed[at : at + some]))
    elif kind == "gap":
        del changed[at : at + some]
    else:
        changed[at : at + some] = changed[at : at + some][::-1]
    return bytes(changed), f"{kind} at {at}, {some} bytes"


def put_other(rng: random.Random, path: Path, others: list[Path]) -> str:
    """Something else in the file's place: another file, nothing, a pipe, a device, a folder."""
    kind = rng.choice(
        ("other", "other", "other", "empty", "pipe", "device", "folder", "link", "gone")
    )
    path.unlink()
    if kind == "other":
        other = rng.choice(others)
        path.write_bytes(other.read_bytes())
        return f"content of {other.name}"
    makers: dict[str, Callable[[], object]] = {
        "empty": path.touch,
        "pipe": lambda: os.mkfifo(path),
        "device": lambda: path.symlink_to("/dev/zero"),
        "folder": path.mkdir,
        "link": lambda: path.symlink_to("nowhere"),
        "gone": lambda: None,
    }
    makers[kind]()
    return kind


def model_spec(rng: random.Random, content: bytes, *, signed: bool) -> tuple[bytes, str]:
    """One thing of the spec changed, its SHA-256 renewed or not."""
    header, rest = _header(content)
    metadata = header["__metadata__"]
    metadata["attnseg"], said = text(rng, json.loads(metadata["attnseg"]))
    if signed:
        metadata |= sign(metadata["attnseg"])
    return _with_header(json.dumps(header), rest), f"spec{said}{', signed' if signed else ''}"


def header(rng: random.Random, content: bytes) -> tuple[bytes, str]:
    """One thing of the header of safetensors changed: names, types, shapes, places."""
    found, rest = _header(content)
    changed, said = text(rng, found)
    return _with_header(changed, rest), f"header{said[:120]}"


def tensors(rng: random.Random, content: bytes, *, signed: bool) -> tuple[bytes, str]:
    """One tensor changed, and where `signed`, the hash with it."""
    metadata = _header(content)[0].get("__metadata__")
    found = load(content)
    name = rng.choice(sorted(found))
    value = found[name]
    kinds: dict[str, Callable[[], torch.Tensor]] = {
        "float16": value.half,
        "bfloat16": value.bfloat16,
        "float64": value.double,
        "int64": lambda: value.nan_to_num(0, 0, 0).long(),
        "bool": value.bool,
        "complex": lambda: torch.complex(value.float(), value.float()),
        "NaN": lambda: torch.full_like(value.float(), torch.nan),
        "infinity": lambda: torch.full_like(value.float(), -torch.inf),
        "1e38": lambda: torch.full_like(value.float(), 1e38),
        "negative": lambda: -value,
        "huge": lambda: torch.full_like(value, 2**62) if name == "step" else value * 9e9,
        "flat": lambda: value.reshape(-1),
        "longer": lambda: torch.cat([value.reshape(-1)] * 2),
        "empty": lambda: value.reshape(-1)[:0],
        "zeros": lambda: torch.zeros_like(value),
    }  # fmt: skip
    kind = rng.choice([*kinds, "gone", "renamed", "extra"])
    if kind in kinds:
        found[name] = kinds[kind]().contiguous()
    elif kind == "extra":
        found["extra"] = value.clone()
    else:
        del found[name]
        if kind == "renamed":
            found[name + "_"] = value
    if signed and metadata and "sha256" in metadata:
        metadata["sha256"] = content_hash(found)
    return save(found, metadata), f"tensor {name}: {kind}{', signed' if signed else ''}"


def _header(content: bytes) -> tuple[dict[str, Any], bytes]:
    (length,) = struct.unpack("<Q", content[:8])
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def _with_header(header: str, rest: bytes) -> bytes:
    said = header.encode("utf-8", "surrogatepass")
    return struct.pack("<Q", len(said)) + said + rest


def digest(path: Path) -> str:
    """SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
