"""Where files are: paths on this machine and URLs, which fsspec opens; both are written as one text."""

from __future__ import annotations

import glob
import hashlib
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

import fsspec

from neyman.exceptions import InvalidEvents
from neyman.inputs.reader import readable
from neyman.support.messages import did_you_mean, near

__all__ = ["file_name", "found", "identity", "is_url", "size_of", "suffix"]


def __dir__() -> list[str]:
    return __all__


PACKAGES = {
    "http": "aiohttp",
    "https": "aiohttp",
    "root": "fsspec-xrootd xrootd",
    "xroot": "fsspec-xrootd xrootd",
    "s3": "s3fs",
    "gs": "gcsfs",
    "gcs": "gcsfs",
}
"""What fsspec needs for some kinds of URL, as pip installs it."""

ENDS = 1 << 16  # bytes of either end of a remote file that are hashed
VERSIONS = ("etag", "content-md5", "digest", "last-modified", "lastmodified", "md5hash", "mtime", "updated")
"""What servers and stores say about the version of a file."""


def is_url(file: str) -> bool:
    """Tell whether a file is named by a URL.

    Example:
        >>> is_url("root://eos.cern.ch//store/a.root"), is_url("data/a.root")
        (True, False)
    """
    return "://" in file


def suffix(file: str) -> str:
    """Return the suffix of a file's name, in lower case.

    Example:
        >>> suffix("https://host/data.PARQUET?download=1"), suffix("a/b.root")
        ('.parquet', '.root')
    """
    return PurePosixPath(file_name(file)).suffix.lower()


def file_name(file: str) -> str:
    """Return the name of a file without its folders.

    Example:
        >>> file_name("root://eos.cern.ch//store/a.root"), file_name("b/c.root")
        ('a.root', 'c.root')
    """
    return PurePosixPath(urlsplit(file).path).name if is_url(file) else Path(file).name


def found(pattern: str, suffixes: tuple[str, ...]) -> list[str]:
    """Return the files that a path, a glob or a URL names, in alphabetical order.

    Args:
        pattern: what names them.
        suffixes: those of folders whose files make one dataset.

    Raises:
        InvalidEvents: if there are none.
    """
    if is_url(pattern):
        return _at_url(pattern)
    path = Path(pattern)
    if path.is_dir():
        inside = [str(name) for end in suffixes for name in sorted(path.rglob(f"*{end}")) if name.is_file()]
        if path.suffix.lower() in suffixes and inside:
            return inside
        end = min({name.suffix for name in path.iterdir()} & set(suffixes), default=".root")
        raise InvalidEvents(f"{path}: is a folder; write {path / f'*{end}'} for the files in it")
    if path.exists():
        return [str(path)]
    names = sorted(glob.glob(pattern, recursive=True))
    if not names and glob.has_magic(pattern):
        raise InvalidEvents(f"{pattern}: no file matches this glob; check the path")
    if not names:
        close = near(path.name, (other.name for other in path.parent.glob("*")))
        raise InvalidEvents(f"{path}: no such file; {did_you_mean(path.name, close) if close else 'check the path'}")
    return names


def size_of(file: str) -> int:
    """Return the size of a file in bytes, 0 where a server does not tell it.

    Raises:
        InvalidEvents: if it cannot be found out.
    """
    if not is_url(file):
        with readable(file):
            return Path(file).stat().st_size
    return int(_info(file).get("size") or 0)


def identity(file: str) -> dict[str, str | int]:
    """Return what tells a file from another or changed one: ``file``, ``size``, and the ``sha256`` of its content.

    A URL is not read twice for it: its hash, ``sha256_ends``, is that of the first and the last 64 KiB, where ROOT and
    parquet files have what changes with every writing; ``version`` is what the server says of it, if anything.
    """
    if not is_url(file):
        with readable(file), Path(file).open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        return {"file": file, "size": size_of(file), "sha256": digest}
    about = _info(file)
    size = int(about.get("size") or 0)
    system, path = _system(file)
    with readable(file):
        if size > 2 * ENDS:
            content = system.cat_file(path, 0, ENDS) + system.cat_file(path, size - ENDS, size)
        else:
            content = system.cat_file(path)
    lower = {str(key).lower(): value for key, value in about.items()}
    version = ", ".join(f"{key} {lower[key]}" for key in VERSIONS if lower.get(key) is not None)
    found: dict[str, str | int] = {"file": file, "size": size, "sha256_ends": hashlib.sha256(content).hexdigest()}
    return {**found, "version": version} if version else found


def _at_url(pattern: str) -> list[str]:
    """Return the URLs of a pattern, in which ``*`` is looked up where the server can list its files."""
    system, path = _system(pattern)
    if "*" not in pattern:
        return [pattern]
    with readable(pattern):
        names = sorted(system.unstrip_protocol(name) for name in system.glob(path))
    if not names:
        raise InvalidEvents(
            f"{pattern}: no file matches this glob, or the server does not list its files; name them one by one"
        )
    return names


def _info(file: str) -> dict[str, Any]:
    system, path = _system(file)
    with readable(file):
        return dict(system.info(path))


def _system(file: str) -> tuple[fsspec.AbstractFileSystem, str]:
    """Return what opens a URL, and the path in it.

    Raises:
        InvalidEvents: if the package for that kind of URL is missing, or there is no such kind.
    """
    kind = file.partition("://")[0]
    try:
        fsspec.get_filesystem_class(kind)
    except ValueError:
        known = sorted(PACKAGES)
        raise InvalidEvents(f"{file}: URLs of the kind {kind}:// cannot be read; {did_you_mean(kind, known)}") from None
    except ImportError as error:
        need = f"pip install {PACKAGES[kind]}" if kind in PACKAGES else " ".join(str(error).split())
        raise InvalidEvents(f"{file}: a package for {kind}:// is missing: {need}") from error
    with readable(file):
        system, path = fsspec.core.url_to_fs(file)
    return system, path
