"""A result file is whole or not there, and a former one stays as it was until then."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

import pytest

from chatlab.errors import ChatlabError, OutputError
from chatlab.files import prepare_folder, whole_file, write_whole


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_takes_its_name_when_the_block_ends_well(tmp_path: Path) -> None:
    with whole_file(tmp_path / "a.txt") as path:
        path.write_text("new")
        assert not (tmp_path / "a.txt").exists()
        assert path.parent == tmp_path, "a rename is whole only within one file system"
    assert (tmp_path / "a.txt").read_text() == "new"
    assert names(tmp_path) == ["a.txt"]


def half_written(target: Path, error: type[BaseException]) -> None:
    with whole_file(target) as path:
        path.write_text("half")
        raise error


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit, GeneratorExit])
def test_an_exception_leaves_no_file_behind(tmp_path: Path, error: type[BaseException]) -> None:
    with pytest.raises(error):
        half_written(tmp_path / "a.txt", error)
    assert names(tmp_path) == []


def test_an_exception_leaves_the_former_file_untouched(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    target.write_text("old")
    before = target.stat()
    with pytest.raises(ZeroDivisionError):
        half_written(target, ZeroDivisionError)
    assert target.read_text() == "old"
    assert (target.stat().st_ino, target.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert names(tmp_path) == ["a.txt"]


def test_a_reader_of_the_former_file_goes_on_reading_it(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    target.write_text("old")
    with open(target, encoding="utf-8") as reader:
        with whole_file(target) as path:
            path.write_text("new")
        assert reader.read() == "old"
    assert target.read_text() == "new"


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o000])
def test_a_result_is_as_readable_as_any_file_of_its_user(tmp_path: Path, mask: int) -> None:
    former = os.umask(mask)
    try:
        with whole_file(tmp_path / "a.txt") as path:
            path.write_text("x")
        assert os.umask(mask) == mask, "the user's mask is as it was"
    finally:
        os.umask(former)
    assert stat.S_IMODE((tmp_path / "a.txt").stat().st_mode) == 0o666 & ~mask


def test_two_writers_of_one_name_do_not_meet(tmp_path: Path) -> None:
    with whole_file(tmp_path / "a.txt") as one, whole_file(tmp_path / "a.txt") as two:
        one.write_text("one")
        two.write_text("two")
    assert (tmp_path / "a.txt").read_text() == "one"
    assert names(tmp_path) == ["a.txt"]


def test_a_folder_is_made_with_its_parents_and_left_empty(tmp_path: Path) -> None:
    assert prepare_folder(tmp_path / "a" / "b") == tmp_path / "a" / "b"
    assert names(tmp_path / "a" / "b") == []
    assert prepare_folder(tmp_path / "a" / "b") == tmp_path / "a" / "b"


@pytest.mark.parametrize("below", ["file", "file/sub", "file/sub/deeper"])
def test_a_folder_that_cannot_be_is_an_error_before_any_work(tmp_path: Path, below: str) -> None:
    (tmp_path / "file").write_text("I am no folder")
    with pytest.raises(OutputError, match=f"cannot write into {tmp_path / below}: .*Choose another --out") as caught:
        prepare_folder(tmp_path / below)
    assert isinstance(caught.value, ChatlabError)
    assert isinstance(caught.value, OSError)
    assert (tmp_path / "file").read_text() == "I am no folder"


@pytest.mark.parametrize("where", ["nowhere/a.txt", "file/a.txt"])
def test_a_file_in_no_folder_is_a_typed_error(tmp_path: Path, where: str) -> None:
    (tmp_path / "file").write_text("I am no folder")
    with pytest.raises(OutputError, match=f"cannot write {tmp_path / where}: "), whole_file(tmp_path / where):
        pytest.fail("no work is done for a file that cannot be")


def test_a_name_that_is_a_folder_is_a_typed_error_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.txt" / "full").mkdir(parents=True)
    with pytest.raises(OutputError, match=r"cannot write .*a\.txt: "), whole_file(tmp_path / "a.txt") as path:
        path.write_text("x")
    assert names(tmp_path) == ["a.txt"]


def test_an_error_of_the_block_itself_is_not_taken_for_one_of_the_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="other") as caught, whole_file(tmp_path / "a.txt"):
        raise FileNotFoundError("other")
    assert not isinstance(caught.value, OutputError)


def test_a_link_stays_and_its_target_changes(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "a.txt").write_text("old")
    (tmp_path / "link").symlink_to("real/a.txt")
    write_whole(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real" / "a.txt").read_text() == "new"
    assert names(tmp_path / "real") == ["a.txt"]


def test_a_link_to_nothing_yet_makes_its_target(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("a.txt")
    write_whole(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "a.txt").read_text() == "new"


def test_a_loop_of_links_is_a_typed_error(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(OutputError):
        write_whole(tmp_path / "a", "new")


def test_a_pipe_is_written_through_and_stays(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()))
    reader.start()
    write_whole(pipe, "new")
    reader.join()
    assert read == [b"new"]
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    assert names(tmp_path) == ["pipe"]


def test_a_device_stays_a_device_and_a_full_one_is_a_typed_error() -> None:
    write_whole(Path("/dev/null"), "new")
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)
    with pytest.raises(OutputError, match="No space left"):
        write_whole(Path("/dev/full"), "new")
    assert stat.S_ISCHR(os.stat("/dev/full").st_mode)


def test_a_former_files_mode_is_kept(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("old")
    (tmp_path / "a").chmod(0o600)
    write_whole(tmp_path / "a", "new")
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o600
