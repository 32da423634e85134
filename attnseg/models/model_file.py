"""The model file: one `.safetensors` whose metadata holds the model's spec as JSON.

Nothing in it can run: tensors, and text checked against a schema.
"""

import hashlib
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from attnseg.errors import ModelFileError
from attnseg.files import parse_json, write_bytes
from attnseg.models.attention_unet import AttentionUNet, build_network
from attnseg.schema import validate
from attnseg.spec import ModelSpec

_SPEC_KEY = "attnseg"
_HASH_KEY = "sha256"
# Of the spec's text; files that were written before it was kept have none.
_SPEC_HASH_KEY = "spec_sha256"
# Names, places and spec of the largest models are some hundred kilobytes.
_LONGEST_HEADER = 2**24


def save_model(path: Path, network: AttentionUNet, spec: ModelSpec) -> None:
    """Write weights and spec to `path`, whole or not at all."""
    assert network.architecture == spec.architecture
    tensors = {
        name: value.detach().cpu().contiguous() for name, value in network.state_dict().items()
    }
    metadata = {**sign(spec.model_dump_json()), _HASH_KEY: content_hash(tensors)}
    # Not `save_file`, which makes a file that only its owner may read, whatever the umask.
    write_bytes(path, save(tensors, metadata))


def sign(spec: str) -> dict[str, str]:
    """Entries of a file's metadata: the spec as JSON, and its SHA-256."""
    return {_SPEC_KEY: spec, _SPEC_HASH_KEY: _digest(spec)}


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def load_spec(path: Path) -> ModelSpec:
    """Read only the spec of a model file.

    Raises:
        ModelFileError: missing, cut short, a pickle, not written by attnseg, a spec that does not
            fit the schema.
    """
    return _read(path, with_tensors=False)[0]


def load_model(path: Path) -> tuple[AttentionUNet, ModelSpec]:
    """Read a model file and build its network, in evaluation mode, on the CPU.

    Raises:
        ModelFileError: as of `load_spec`; weights that are not those of the architecture, that are
            not finite, or that are not those whose SHA-256 the file records.
    """
    spec, tensors, metadata = _read(path, with_tensors=True)
    network = _checked_network(path, spec, tensors, metadata)
    network.load_state_dict(tensors, assign=True)
    return network.eval(), spec


def model_id(path: Path) -> str:
    """Which model made a mask: the SHA-256 of the weights as recorded in the file.

    Rules of after-processing change masks as weights do; of a model that has some, it is the
    SHA-256 of both.
    """
    spec, _, metadata = _read(path, with_tensors=False)
    weights = metadata.get(_HASH_KEY, "")
    rules = sorted(rule.model_dump_json() for rule in spec.after_processing)
    return hashlib.sha256("\n".join([weights, *rules]).encode()).hexdigest() if rules else weights


def verify_model(path: Path) -> list[str]:
    """Everything that can be checked without running the model; the checks passed, one line each.

    Raises:
        ModelFileError: the first check that fails.
    """
    spec, tensors, metadata = _read(path, with_tensors=True)
    _checked_network(path, spec, tensors, metadata)
    count = sum(tensor.numel() for tensor in tensors.values())
    return [
        "header and spec: valid, format 1",
        f"weights: {len(tensors)} tensors, {count:,} numbers, as the architecture demands",
        "values: all finite",
        f"SHA-256 of the weights: {metadata[_HASH_KEY]}, as recorded",
    ]


def describe_model(path: Path) -> dict[str, Any]:
    """The spec as plain data, with the number of parameters and the hash of the weights."""
    spec, tensors, metadata = _read(path, with_tensors=True)
    return {
        **spec.model_dump(mode="json"),
        "parameters": sum(tensor.numel() for tensor in tensors.values()),
        "sha256": metadata.get(_HASH_KEY),
    }


def _read(path: Path, *, with_tensors: bool) -> tuple[ModelSpec, dict[str, Tensor], dict[str, str]]:
    path = Path(path)
    if not path.is_file():
        there = "not a file" if path.exists() else "no such model file"
        raise ModelFileError(f"{path}: {there}; check -m")
    with path.open("rb") as stream:
        start = stream.read(8)
    if start[:2] in (b"PK", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"):
        raise ModelFileError(
            f"{path}: this is a pickle (a PyTorch checkpoint), which can run code when opened; "
            "attnseg reads .safetensors model files only"
        )
    length = int.from_bytes(start, "little")
    if _LONGEST_HEADER < length <= path.stat().st_size:
        raise ModelFileError(
            f"{path}: a header of {length:,} bytes, where {_LONGEST_HEADER:,} are the most; copy "
            "the file again from its source"
        )
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            names = file.keys() if with_tensors else []
            tensors = {name: file.get_tensor(name) for name in names}
    except (SafetensorError, OSError) as error:
        raise ModelFileError(
            f"{path}: not a whole safetensors file ({str(error)[:200]}); copy it "
            "again from its source"
        ) from None
    if _SPEC_KEY not in metadata:
        raise ModelFileError(
            f"{path}: holds tensors but no attnseg spec; give a model written by attnseg train"
        )
    said = metadata[_SPEC_KEY]
    if metadata.get(_SPEC_HASH_KEY, digest := _digest(said)) != digest:
        raise ModelFileError(
            f"{path}: its spec does not match the SHA-256 in the file; copy it again"
        )
    try:
        raw = parse_json(said)
    except ValueError as error:
        raise ModelFileError(
            f"{path}: its spec is not valid JSON ({error}); copy the file again"
        ) from None
    spec = validate(ModelSpec, raw, source=str(path), error=ModelFileError, exact=True)
    return spec, tensors, metadata


def _checked_network(
    path: Path, spec: ModelSpec, tensors: dict[str, Tensor], metadata: dict[str, str]
) -> AttentionUNet:
    """The network of a spec, its weights not yet in it, once these are known to be what was saved.

    Raises:
        ModelFileError: they are not.
    """
    # Skipping the random initialisation that the weights overwrite saves its time.
    with torch.device("meta"):
        network = build_network(spec.architecture)
    _check_weights(path, network, tensors)
    types = {name: value.dtype for name, value in network.state_dict().items()}
    for name, tensor in tensors.items():
        if tensor.dtype != (wanted := types[name]):
            raise ModelFileError(
                f"{path}: tensor {name} holds {tensor.dtype}, where weights are {wanted}; the file "
                "does not belong to its own spec"
            )
        if not torch.isfinite(tensor).all():
            raise ModelFileError(f"{path}: tensor {name} holds NaN or infinity; train again")
    if metadata.get(_HASH_KEY) != content_hash(tensors):
        raise ModelFileError(
            f"{path}: the weights do not match the SHA-256 in the file; copy it again"
        )
    return network


def _check_weights(path: Path, network: AttentionUNet, tensors: dict[str, Tensor]) -> None:
    expected = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    found = {name: tuple(value.shape) for name, value in tensors.items()}
    for name in sorted(expected.keys() | found.keys()):
        if expected.get(name) != found.get(name):
            raise ModelFileError(
                f"{path}: tensor {name} is {found.get(name, 'missing')} where the architecture "
                f"needs {expected.get(name, 'none')}; the file does not belong to its own spec"
            )


def content_hash(tensors: dict[str, Tensor]) -> str:
    """SHA-256 of names, types, shapes and values of all tensors."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
