"""Files at URLs: ROOT and parquet over HTTP from a server in this process, what tells a changed one, and bad input."""

from __future__ import annotations

import functools
import http.server
import re
import threading
from collections.abc import Iterator
from pathlib import Path

import fsspec
import numpy as np
import pytest

from neyman.events import EventSource
from neyman.exceptions import InvalidEvents
from neyman.inputs.files import files_of, only_tree, provenance, tree_of
from neyman.inputs.sources import read

pytest.importorskip("aiohttp")
DATA = Path(__file__).parents[1] / "data"


class Server(http.server.SimpleHTTPRequestHandler):
    """Serves files and parts of them, as stores of files do."""

    def do_GET(self) -> None:
        path = Path(self.translate_path(self.path))
        asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        if not asked or not path.is_file():
            return super().do_GET()
        content = path.read_bytes()
        start, stop = int(asked[1]), min(int(asked[2]) + 1, len(content))
        self.send_response(206)
        self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{len(content)}")
        self.send_header("Content-Length", str(stop - start))
        self.end_headers()
        self.wfile.write(content[start:stop])
        return None

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """Return the address of a server of the files in a folder, and the folder."""
    with http.server.ThreadingHTTPServer(
        ("localhost", 0), functools.partial(Server, directory=str(tmp_path))
    ) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://localhost:{running.server_port}", tmp_path
        running.shutdown()
        thread.join()


def served(server: tuple[str, Path], name: str = "ttree.root") -> str:
    (server[1] / name).write_bytes((DATA / "ttree.root").read_bytes())
    return f"{server[0]}/{name}"


def test_a_root_file_at_a_url_is_read_as_the_file_itself(server):
    source, expressions = EventSource((served(server),), "nominal", "w", "njet >= 1"), ["m4l", "jet_pt[:, 0]"]
    local = EventSource((str(DATA / "ttree.root"),), "nominal", "w", "njet >= 1")
    assert np.array_equal(read(source, expressions, progress=True).features, read(local, expressions).features)
    assert tree_of(f"{source.files[0]}:nominal") == (source.files[0], "nominal")


def test_a_parquet_file_at_a_url_is_read(server):
    ak, _ = pytest.importorskip("awkward"), pytest.importorskip("pyarrow")
    ak.to_parquet(ak.Array({"x": [1.0, 2.0, 3.0]}), server[1] / "x.parquet")
    assert read(EventSource((f"{server[0]}/x.parquet",), ""), ["x"]).features[:, 0].tolist() == [1, 2, 3]


def test_a_glob_finds_what_the_server_lists(server):
    first, second = served(server, "a.root"), served(server, "b.root")
    assert files_of(EventSource((f"{server[0]}/*.root",), "nominal")) == [first, second]
    with pytest.raises(InvalidEvents, match="no file matches this glob, or the server does not list its files"):
        files_of(EventSource((f"{server[0]}/*.parquet",), "nominal"))


def test_provenance_tells_a_changed_file_without_reading_all_of_it(server):
    url = served(server)
    source = [EventSource((url,), "nominal")]
    [before] = provenance(source)
    assert before["file"] == url
    assert before["size"] == (DATA / "ttree.root").stat().st_size
    assert "last-modified" in str(before["version"])
    path = server[1] / "ttree.root"
    content = bytearray(path.read_bytes())
    content[60] ^= 1
    path.write_bytes(content)
    [after] = provenance(source)
    assert after["sha256_ends"] != before["sha256_ends"]


def test_a_missing_file_at_a_url_is_one_line(server):
    with pytest.raises(InvalidEvents, match=rf"{server[0]}/none.root: no such file; check the path"):
        read(EventSource((f"{server[0]}/none.root",), "t"), ["x"])
    (server[1] / "text.root").write_text("hello, this is text")
    with pytest.raises(InvalidEvents, match=r"text.root: cannot be read"):
        only_tree(f"{server[0]}/text.root")


@pytest.mark.parametrize(
    ("url", "command"),
    [("root://host//a.root", "pip install fsspec-xrootd xrootd"), ("s3://bucket/a.root", "pip install s3fs")],
)
def test_a_missing_package_is_named_with_the_command(url, command, monkeypatch):
    def missing(kind: str) -> None:
        raise ImportError(f"install something for {kind}")

    monkeypatch.setattr(fsspec, "get_filesystem_class", missing)
    with pytest.raises(
        InvalidEvents, match=re.escape(f"{url}: a package for {url.partition(':')[0]}:// is missing: {command}")
    ):
        read(EventSource((url,), "t"), ["x"])


def test_a_kind_of_url_that_does_not_exist_has_a_near_miss():
    with pytest.raises(InvalidEvents, match="URLs of the kind htps:// cannot be read; did you mean 'https'"):
        read(EventSource(("htps://host/a.root",), "t"), ["x"])
