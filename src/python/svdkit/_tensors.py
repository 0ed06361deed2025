"""Models that lie in memory, given to the program as safetensors files.

On Linux the file has a header and holes: the program reads tensors where they lie, through a descriptor on the memory of
this process. Elsewhere, and where a tensor's memory can't be read in this way, its bytes are written to the file.
torch and numpy are used only if they are loaded.
"""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import struct
import sys
import tempfile
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Any, NamedTuple, Protocol, Union

from svdkit._errors import SvdkitError


class Module(Protocol):
    """A model with a `state_dict`, such as a `torch.nn.Module`."""

    def state_dict(self) -> Any: ...


Model = Union[str, "os.PathLike[str]", Mapping[str, Any], Module]

# Names in safetensors by those in torch and numpy, the last first in a file, as its writers order tensors.
_TYPES = {
    "bool": "BOOL",
    "uint8": "U8",
    "int8": "I8",
    "float8_e5m2": "F8_E5M2",
    "float8_e4m3fn": "F8_E4M3",
    "float8_e8m0fnu": "F8_E8M0",
    "float8_e4m3fnuz": "F8_E4M3FNUZ",
    "float8_e5m2fnuz": "F8_E5M2FNUZ",
    "int16": "I16",
    "uint16": "U16",
    "float16": "F16",
    "bfloat16": "BF16",
    "int32": "I32",
    "uint32": "U32",
    "float32": "F32",
    "complex64": "C64",
    "float64": "F64",
    "int64": "I64",
    "uint64": "U64",
}
_ORDER = {name: place for place, name in enumerate(_TYPES.values())}


class _Stored(NamedTuple):
    """A tensor as it lies in memory, row by row; `owner` keeps it there."""

    address: int
    length: int
    owner: object


class _Tensor(NamedTuple):
    name: str
    kind: str
    shape: list[int]
    length: int
    value: Any


class Stage:
    """A temporary folder with what a run is given and gives; it goes with the run.

    A model in memory is called by its parameter: the files of `base` lie in the folder `base`.
    """

    def __init__(self, borrow: bool) -> None:
        self.folder = tempfile.mkdtemp(prefix="svdkit-", dir=_roomy())
        self.memory = _own_memory() if borrow else None
        self.has_models = False
        self._borrowed: list[dict[str, Any]] = []
        self._owners: list[object] = []

    def __enter__(self) -> Stage:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self.memory is not None:
            os.close(self.memory)
        shutil.rmtree(self.folder, ignore_errors=True)

    def path(self, name: str) -> str:
        """The place of `name` in the folder."""
        return os.path.join(self.folder, name)

    def model(self, model: Model, name: str) -> str:
        """The path of a model: its own, or that of the folder that stands for it."""
        if isinstance(model, (str, os.PathLike)):
            return os.fspath(model)
        tensors = model if isinstance(model, Mapping) else _state(model, name)
        self.has_models = True
        folder = self.path(name)
        os.mkdir(folder)
        describe = getattr(getattr(model, "config", None), "to_json_string", None)
        if callable(describe):
            with open(os.path.join(folder, "config.json"), "w", encoding="utf-8") as file:
                file.write(str(describe()))
        self._write(list(_tensors(tensors, name)), os.path.join(folder, "model.safetensors"), name)
        return folder

    def borrowed(self) -> list[str]:
        """What tells the program which tensors lie in memory."""
        if not self._borrowed:
            return []
        with open(self.path("borrowed.json"), "w", encoding="utf-8") as file:
            json.dump(self._borrowed, file)
        return ["--borrowed", self.path("borrowed.json")]

    def unplaced(self, text: bytes) -> bytes:
        """`text` without the path of the folder: models in memory have only their names."""
        prefix = self.folder + os.sep
        return text.replace(json.dumps(prefix)[1:-1].encode(), b"").replace(os.fsencode(prefix), b"")

    def _write(self, tensors: list[_Tensor], path: str, model: str) -> None:
        if not tensors:
            raise SvdkitError(f"{model}: holds no tensors; a state_dict has tensors by name")
        tensors.sort(key=lambda tensor: (-_ORDER[tensor.kind], tensor.name))
        header: dict[str, Any] = {}
        end = 0
        for tensor in tensors:
            begin, end = end, end + tensor.length
            header[tensor.name] = {"dtype": tensor.kind, "shape": tensor.shape, "data_offsets": [begin, end]}
        text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 8)
        parts = []
        with open(path, "wb") as file:
            file.write(struct.pack("<Q", len(text)) + text)
            start = file.tell()
            file.truncate(start + end)
            for tensor in tensors:
                offset = start + header[tensor.name]["data_offsets"][0]
                stored, is_own = _stored(tensor.value, f"{model}: {tensor.name}")
                if stored.length != tensor.length or (not stored.address and stored.length):
                    raise SvdkitError(f"{model}: {tensor.name}: {type(tensor.value).__name__} has no plain memory")
                if is_own and self._is_readable(stored):
                    parts.append({"offset": offset, "length": stored.length, "address": stored.address})
                    self._owners.append(stored.owner)
                elif stored.length:
                    file.seek(offset)
                    file.write((ctypes.c_char * stored.length).from_address(stored.address))
        if parts:
            self._borrowed.append({"path": path, "parts": parts})

    def _is_readable(self, stored: _Stored) -> bool:
        """Whether the program can read this through `memory`: a device's pages, for one, it can't."""
        if self.memory is None or not stored.length:
            return False
        try:
            ends = (stored.address, stored.address + stored.length - 1)
            return all(len(os.pread(self.memory, 1, end)) == 1 for end in ends)
        except (OSError, OverflowError):
            return False


def _own_memory() -> int | None:
    if not sys.platform.startswith("linux"):
        return None
    try:
        return os.open("/proc/self/mem", os.O_RDONLY)
    except OSError:
        return None


def _roomy() -> str | None:
    """The folder for files of a model's size: on many systems /tmp is memory, and /var/tmp is not."""
    chosen = any(os.environ.get(name) for name in ("TMPDIR", "TEMP", "TMP"))
    return "/var/tmp" if not chosen and os.name == "posix" and os.access("/var/tmp", os.W_OK) else None


def _state(model: Module, name: str) -> Mapping[str, Any]:
    if not callable(getattr(model, "state_dict", None)):
        what = type(model).__name__
        raise TypeError(f"{name} is a path, a name, a mapping of tensors or a module with a state_dict, not {what}")
    state: Mapping[str, Any] = model.state_dict()
    return state


def _tensors(state: Mapping[str, Any], model: str) -> Iterator[_Tensor]:
    for name, value in state.items():
        where = f"{model}: {name}"
        if type(value).__name__.startswith("Uninitialized"):
            raise SvdkitError(f"{where} has no shape yet; run the model once, or leave it out")
        if isinstance(value, Mapping):
            raise SvdkitError(f"{where} holds tensors of its own; give svdkit that mapping, as in checkpoint[{name!r}]")
        if not (hasattr(value, "dtype") and hasattr(value, "shape")):
            continue
        if not isinstance(name, str):
            raise TypeError(f"{model}: {name!r} is not a tensor's name; names are strings")
        if name == "__metadata__" or not name.isprintable() and "\ud800" <= max(name) <= "\udfff":
            raise SvdkitError(f"{model}: {name!r} can't be the name of a tensor in a file; call it otherwise")
        if not _is_torch(value):
            value = _array(value, where)
        kind = str(value.dtype).replace("torch.", "") if _is_torch(value) else value.dtype.name
        if kind not in _TYPES or getattr(value, "is_quantized", False):
            raise SvdkitError(f"{where} has type {value.dtype}, which no safetensors file has; convert or leave it out")
        if _is_torch(value):
            _check(value, where)
        shape = [int(side) for side in value.shape]
        size = value.element_size() if _is_torch(value) else value.itemsize
        yield _Tensor(name, _TYPES[kind], shape, int(size) * _product(shape), value)


def _check(tensor: Any, where: str) -> None:
    if tensor.is_meta:
        raise SvdkitError(f"{where} is on the meta device and has no entries; load the weights first")
    if str(tensor.layout) != "torch.strided":
        raise SvdkitError(f"{where} is {tensor.layout}; make it dense with `.to_dense()`, or leave it out")
    if hasattr(tensor, "full_tensor"):
        raise SvdkitError(f"{where} is a part of a distributed tensor; gather it with `.full_tensor()`")


def _stored(value: Any, where: str) -> tuple[_Stored, bool]:
    """The entries of a tensor row by row, and whether they are the tensor's own memory, not a copy."""
    if not _is_torch(value):
        import numpy

        array = numpy.asarray(value, dtype=value.dtype.newbyteorder("="), order="C")
        address = int(array.__array_interface__["data"][0])
        return _Stored(address, int(array.nbytes), array), address == value.__array_interface__["data"][0]
    tensor = value.detach()
    own = tensor.device.type == "cpu" and tensor.is_contiguous() and not (tensor.is_conj() or tensor.is_neg())
    if not own:
        tensor = tensor.resolve_conj().resolve_neg().cpu().contiguous()
    try:
        return _Stored(int(tensor.data_ptr()), int(tensor.numel() * tensor.element_size()), tensor), own
    except RuntimeError as error:
        raise SvdkitError(f"{where}: {str(error).splitlines()[0]}") from error


def _array(value: Any, where: str) -> Any:
    numpy = sys.modules.get("numpy")
    if numpy is None or not (isinstance(value, numpy.ndarray) or hasattr(value, "__array__")):
        raise SvdkitError(f"{where}: {type(value).__name__} is not a tensor of torch or numpy; convert it with numpy")
    masked = sys.modules.get("numpy.ma")
    if masked is not None and masked.is_masked(value):
        raise SvdkitError(f"{where} is a masked array; `.filled(0)` says what its masked entries are")
    return numpy.asarray(value)


def _is_torch(value: object) -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)


def _product(shape: list[int]) -> int:
    count = 1
    for side in shape:
        count *= side
    return count
