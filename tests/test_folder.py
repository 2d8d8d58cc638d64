"""The one door to files from elsewhere: what it lets in, and what it names instead."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from chatlab.errors import SourceNotFound, TokenizerLoadError
from chatlab.folder import check_folder, read_bytes, read_json, require_plain


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_json_is_read_in_every_encoding_it_may_have(encoding: str, tmp_path: Path) -> None:
    (tmp_path / "x.json").write_bytes('{"a": "\u00e9\u6771"}'.encode(encoding))
    assert read_json(tmp_path / "x.json") == {"a": "\u00e9\u6771"}


@pytest.mark.parametrize("content", [b"", b"{", b"[" * 100_000, b"\xff\xfe\xff", b"nope"])
def test_what_is_no_json_is_named(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "x.json").write_bytes(content)
    with pytest.raises(TokenizerLoadError, match=r"x\.json (is no JSON|is nested too deeply)"):
        read_json(tmp_path / "x.json")


def test_a_file_above_the_limit_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "big.json").open("wb") as file:
        file.truncate(2**40)  # a hole: it takes no room
    with pytest.raises(TokenizerLoadError, match=r"big\.json has 1099511627776 bytes"):
        read_bytes(tmp_path / "big.json")
    with pytest.raises(TokenizerLoadError, match=r"big\.json"):
        check_folder(tmp_path)


@pytest.mark.parametrize("kind", ["nothing", "fifo", "device", "loop", "folder"])
def test_what_is_no_file_is_refused(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "loop":
        path.symlink_to(path)
    elif kind == "folder":
        path.mkdir()
    with pytest.raises(SourceNotFound if kind == "nothing" else TokenizerLoadError, match="x.json"):
        require_plain(path)


def test_the_folder_itself_may_be_a_link_and_files_that_no_tokenizer_reads_may_lead_anywhere(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "tokenizer.json").write_text("{}")
    (folder / "model.safetensors").symlink_to("/dev/zero")
    (tmp_path / "link").symlink_to(folder)
    check_folder(tmp_path / "link")
    (folder / "LICENSE").symlink_to("/etc/hostname")
    with pytest.raises(TokenizerLoadError, match="link out"):
        check_folder(tmp_path / "link", lambda name: name == "LICENSE")
