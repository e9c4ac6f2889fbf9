"""treehead for Python: asks, before a file is installed, whether it is what everybody else was given.

    import treehead
    trust = treehead.Trust.from_file("endpoint.trust")
    verdict = treehead.verify(trust, "scanner.sh", channel="stable")
    if not verdict:
        sys.exit(f"{verdict.code}: {verdict.message}")

The library is the one beside this file (in a wheel), the one that TREEHEAD_LIBRARY names, or the system's.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import hashlib
import json
import os
import pathlib
import time
from typing import Any, Callable, Iterable, Optional, Union

__all__ = ["Error", "Memory", "Trust", "Verdict", "verify", "verify_digest", "verify_many", "verify_online", "version"]

OK, REFUSED, COULD_NOT_TELL, INVALID_ARGUMENT, MALFORMED, BUSY, UNSUPPORTED, TOO_SMALL, IO = range(9)
_WANT_JSON = 1


class _Str(ctypes.Structure):
    _fields_ = [("data", ctypes.c_char_p), ("length", ctypes.c_size_t)]


class _Bytes(ctypes.Structure):
    _fields_ = [("data", ctypes.c_char_p), ("length", ctypes.c_size_t)]


class _Text(ctypes.Structure):
    _fields_ = [("data", ctypes.c_void_p), ("capacity", ctypes.c_size_t), ("length", ctypes.c_size_t)]


class _Question(ctypes.Structure):
    _fields_ = [
        ("struct_size", ctypes.c_size_t),
        ("sha256", ctypes.c_uint8 * 32),
        ("proof", _Bytes),
        ("now", ctypes.c_uint64),
        ("max_age", ctypes.c_uint64),
        ("min_sequence", ctypes.c_uint64),
        ("file_name", _Str),
        ("name", _Str),
        ("package", _Str),
        ("channel", _Str),
        ("kind", _Str),
        ("publisher", _Str),
        ("audience", _Str),
        ("flags", ctypes.c_uint32),
        ("reserved", ctypes.c_uint32),
    ]


_TEXTS = ["message", "expected", "seen", "advice", "origin", "purl", "channel", "kind", "publisher", "audience", "name"]


class _Verdict(ctypes.Structure):
    _fields_ = [
        ("struct_size", ctypes.c_size_t),
        ("status", ctypes.c_int32),
        ("reason", ctypes.c_uint32),
        *[(text, _Text) for text in _TEXTS],
        ("sequence", ctypes.c_uint64),
        ("index", ctypes.c_uint64),
        ("tree_size", ctypes.c_uint64),
        ("cosigned", ctypes.c_uint64),
        ("leaf", ctypes.c_uint8 * 32),
        ("root", ctypes.c_uint8 * 32),
        ("asked_the_log", ctypes.c_int32),
        ("asked_for_withdrawals", ctypes.c_int32),
        ("forgot_a_head", ctypes.c_int32),
        ("reserved", ctypes.c_int32),
        ("evidence", ctypes.c_void_p),
        ("evidence_name", _Text),
        ("json", ctypes.c_void_p),
    ]


def _load() -> ctypes.CDLL:
    beside = pathlib.Path(__file__).with_name("libtreehead.so.0")
    path = os.environ.get("TREEHEAD_LIBRARY") or (str(beside) if beside.exists() else ctypes.util.find_library("treehead"))
    if not path:
        raise OSError("libtreehead is not installed: name it with TREEHEAD_LIBRARY")
    library = ctypes.CDLL(path)
    pointer, size = ctypes.c_void_p, ctypes.c_size_t
    for name, result, arguments in [
        ("th_abi_version", ctypes.c_uint32, []),
        ("th_version", ctypes.c_char_p, []),
        ("th_reason_name", ctypes.c_char_p, [ctypes.c_uint32]),
        ("th_blob_data", pointer, [pointer]),
        ("th_blob_length", size, [pointer]),
        ("th_blob_free", None, [pointer]),
        ("th_trust_from_bytes", ctypes.c_int32, [ctypes.c_char_p, size, pointer, pointer]),
        ("th_trust_number", ctypes.c_uint64, [pointer]),
        ("th_trust_free", None, [pointer]),
        ("th_memory_new", ctypes.c_int32, [pointer]),
        ("th_memory_from_bytes", ctypes.c_int32, [ctypes.c_char_p, size, pointer, pointer]),
        ("th_memory_to_bytes", ctypes.c_int32, [pointer, pointer]),
        ("th_memory_is_changed", ctypes.c_int32, [pointer]),
        ("th_memory_open_dir", ctypes.c_int32, [ctypes.c_char_p, size, pointer, pointer]),
        ("th_memory_free", None, [pointer]),
        ("th_verify_many", ctypes.c_int32, [pointer, pointer, pointer, pointer, size]),
        ("th_verdict_clear", None, [pointer]),
        ("th_check_new", ctypes.c_int32, [pointer, pointer, pointer, pointer, pointer]),
        ("th_check_requests", size, [pointer]),
        ("th_check_request", ctypes.c_int32, [pointer, size, pointer, pointer]),
        ("th_check_answer", ctypes.c_int32, [pointer, size, ctypes.c_int32, ctypes.c_char_p, size]),
        ("th_check_finish", ctypes.c_int32, [pointer, pointer, pointer]),
        ("th_check_free", None, [pointer]),
    ]:
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    if library.th_abi_version() < 1:
        raise OSError(f"{path} is too old")
    return library


_library = _load()


class Error(Exception):
    """A failure that is no verdict: bytes that can't be read, or a wrong call."""

    def __init__(self, status: int, message: str):
        super().__init__(message)
        self.status = status


def version() -> str:
    """The version of the library."""
    return _library.th_version().decode()


def _blob(blob: Optional[int]) -> bytes:
    return ctypes.string_at(_library.th_blob_data(blob), _library.th_blob_length(blob)) if blob else b""


def _make(function: str, *arguments: Any) -> int:
    """Calls a function that makes an object and explains a failure."""
    buffer, made = ctypes.create_string_buffer(1024), ctypes.c_void_p()
    message = _Text(ctypes.addressof(buffer), len(buffer), 0)
    status = getattr(_library, function)(*arguments, ctypes.byref(made), ctypes.byref(message))
    if status != OK:
        raise Error(status, buffer.value.decode(errors="replace") or f"{function}: the call was wrong")
    return made.value


class Trust:
    """The logs, witnesses and publishers to believe. Any number of threads may use it."""

    def __init__(self, trust_file: bytes):
        self._pointer = None
        self._pointer = _make("th_trust_from_bytes", trust_file, len(trust_file))

    @classmethod
    def from_file(cls, path: Union[str, os.PathLike]) -> "Trust":
        return cls(pathlib.Path(path).read_bytes())

    @property
    def number(self) -> int:
        return _library.th_trust_number(self._pointer)

    def __del__(self) -> None:
        if getattr(self, "_pointer", None):
            _library.th_trust_free(self._pointer)


class Memory:
    """What an endpoint remembers. Save its `to_bytes` before you install anything, or let it live in a directory."""

    def __init__(self, saved: Optional[bytes] = None, *, directory: Union[str, os.PathLike, None] = None):
        self._pointer = None
        if directory is not None:
            path = os.fsencode(directory)
            self._pointer = _make("th_memory_open_dir", path, len(path))
        elif saved is not None:
            self._pointer = _make("th_memory_from_bytes", saved, len(saved))
        else:
            made = ctypes.c_void_p()
            _library.th_memory_new(ctypes.byref(made))
            self._pointer = made.value

    @property
    def is_changed(self) -> bool:
        return bool(_library.th_memory_is_changed(self._pointer))

    def to_bytes(self) -> bytes:
        blob = ctypes.c_void_p()
        status = _library.th_memory_to_bytes(self._pointer, ctypes.byref(blob))
        if status != OK:
            raise Error(status, "a memory in a directory is saved there")
        try:
            return _blob(blob.value)
        finally:
            _library.th_blob_free(blob.value)

    def __del__(self) -> None:
        if getattr(self, "_pointer", None):
            _library.th_memory_free(self._pointer)


class Verdict:
    """The answer about a file; true if it may be installed. `facts` has what `treehead verify --json` prints."""

    def __init__(self, verdict: _Verdict, message: str, evidence_name: str):
        self.status: int = verdict.status
        self.reason: int = verdict.reason
        self.facts: dict = json.loads(_blob(verdict.json) or b"{}")
        self.message: str = self.facts.get("message", message)
        self.evidence: bytes = _blob(verdict.evidence)
        self.evidence_name: str = evidence_name

    @property
    def code(self) -> str:
        return self.facts.get("code", "could-not-tell")

    def __bool__(self) -> bool:
        return self.status == OK

    def __getattr__(self, name: str) -> Any:
        try:
            return self.__dict__["facts"][name]
        except KeyError:
            raise AttributeError(name) from None

    def __repr__(self) -> str:
        return f"<treehead.Verdict {self.code}: {self.message}>"


class _Asked:
    """A question and its verdict, with everything that they point at."""

    def __init__(self, sha256: bytes, proof: bytes, now: Optional[int], max_age: int, min_sequence: int, texts: dict):
        if len(sha256) != 32:
            raise ValueError("a SHA-256 has 32 bytes")
        self._proof = proof
        self.question = _Question(struct_size=ctypes.sizeof(_Question), flags=_WANT_JSON)
        self.question.sha256[:] = sha256
        self.question.proof = _Bytes(proof, len(proof))
        self.question.now = int(time.time()) if now is None else now
        self.question.max_age, self.question.min_sequence = max_age, min_sequence
        self._texts = {name: str(text).encode() for name, text in texts.items() if text is not None}
        for name, text in self._texts.items():
            setattr(self.question, name, _Str(text, len(text)))
        self._message, self._name = ctypes.create_string_buffer(1024), ctypes.create_string_buffer(128)
        self.verdict = _Verdict(struct_size=ctypes.sizeof(_Verdict))
        self.verdict.message = _Text(ctypes.addressof(self._message), len(self._message), 0)
        self.verdict.evidence_name = _Text(ctypes.addressof(self._name), len(self._name), 0)

    def finish(self) -> Verdict:
        try:
            if self.verdict.status == INVALID_ARGUMENT:
                raise Error(INVALID_ARGUMENT, self._message.value.decode(errors="replace"))
            return Verdict(self.verdict, self._message.value.decode(errors="replace"), self._name.value.decode())
        finally:
            _library.th_verdict_clear(ctypes.byref(self.verdict))


def _asked(file: Union[str, os.PathLike], proof: Union[bytes, str, os.PathLike, None], **question: Any) -> _Asked:
    path = pathlib.Path(file)
    digest = hashlib.sha256()
    with path.open("rb") as opened:
        while piece := opened.read(1 << 20):
            digest.update(piece)
    if not isinstance(proof, bytes):
        proof = pathlib.Path(proof or f"{path}.tlog-proof").read_bytes()
    question.setdefault("file_name", path.name)
    return _question(digest.digest(), proof, **question)


def _question(
    sha256: bytes,
    proof: bytes,
    *,
    now: Optional[int] = None,
    max_age: int = 0,
    min_sequence: int = 0,
    file_name: Optional[str] = None,
    name: Optional[str] = None,
    package: Optional[str] = None,
    channel: Optional[str] = None,
    kind: Optional[str] = None,
    publisher: Optional[str] = None,
    audience: Optional[str] = None,
) -> _Asked:
    texts = {
        "file_name": file_name,
        "name": name,
        "package": package,
        "channel": channel,
        "kind": kind,
        "publisher": publisher,
        "audience": audience,
    }
    return _Asked(sha256, proof, now, max_age, min_sequence, texts)


def _judge(trust: Trust, memory: Optional[Memory], asked: list) -> list:
    questions = (ctypes.c_void_p * len(asked))(*[ctypes.addressof(one.question) for one in asked])
    verdicts = (ctypes.c_void_p * len(asked))(*[ctypes.addressof(one.verdict) for one in asked])
    _library.th_verify_many(trust._pointer, memory and memory._pointer, questions, verdicts, len(asked))
    return [one.finish() for one in asked]


def verify(
    trust: Trust,
    file: Union[str, os.PathLike],
    proof: Union[bytes, str, os.PathLike, None] = None,
    *,
    memory: Optional[Memory] = None,
    **pins: Any,
) -> Verdict:
    """Judges a file by the proof beside it (FILE.tlog-proof) or by another one.

    Pins: package, channel, kind, publisher, audience, name, min_sequence, max_age (seconds), now (seconds since 1970).
    """
    return _judge(trust, memory, [_asked(file, proof, **pins)])[0]


def verify_many(
    trust: Trust, files: Iterable[Union[str, os.PathLike]], *, memory: Optional[Memory] = None, **pins: Any
) -> list:
    """Judges several files, each by the proof beside it, with the memory read and saved once."""
    return _judge(trust, memory, [_asked(file, None, **pins) for file in files])


def verify_digest(
    trust: Trust, sha256: bytes, proof: bytes, *, memory: Optional[Memory] = None, **pins: Any
) -> Verdict:
    """Judges a file of which only the digest is known here."""
    return _judge(trust, memory, [_question(sha256, proof, **pins)])[0]


def verify_online(
    trust: Trust,
    file: Union[str, os.PathLike],
    fetch: Callable[[str], tuple],
    proof: Union[bytes, str, os.PathLike, None] = None,
    *,
    memory: Optional[Memory] = None,
    **pins: Any,
) -> Verdict:
    """Like verify, and asks the log: `fetch` gets a path below its address, and returns HTTP status and body."""
    asked = _asked(file, proof, **pins)
    held = memory and memory._pointer
    check = _make("th_check_new", trust._pointer, held, ctypes.byref(asked.question))
    try:
        while _library.th_check_requests(check):
            buffer = ctypes.create_string_buffer(256)
            path = _Text(ctypes.addressof(buffer), len(buffer), 0)
            if _library.th_check_request(check, 0, ctypes.byref(path), None) == TOO_SMALL:
                buffer = ctypes.create_string_buffer(path.length + 1)
                path = _Text(ctypes.addressof(buffer), len(buffer), 0)
                _library.th_check_request(check, 0, ctypes.byref(path), None)
            status, body = fetch(buffer.value.decode())
            _library.th_check_answer(check, 0, status, body, len(body))
        _library.th_check_finish(check, held, ctypes.byref(asked.verdict))
        return asked.finish()
    finally:
        _library.th_check_free(check)
