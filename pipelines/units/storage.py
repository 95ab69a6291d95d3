"""Folders that stages share with the nodes of a cluster: a path, or a URL of any filesystem that pyarrow knows."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import urlsplit, urlunsplit

from pyarrow import fs

from items.atomic import write_file

SCHEMES = ("file", "gs", "gcs", "hdfs", "s3")  # of the filesystems that pyarrow makes from a URL

Files = dict[str, bytes]  # content by name, of one folder


class Storage:
    """One folder. It travels to other processes as its URL.

    A path is read and written by the operating system, a URL (`s3://bucket/folder`, `gs://…`, `hdfs://…`) by pyarrow.
    Each file is written whole or not at all.

    Raises:
        OSError: of every method, where the filesystem does not answer or refuses.
    """

    def __init__(self, url: str | os.PathLike[str]) -> None:
        self.url = os.fspath(url)

    def __truediv__(self, name: str) -> Storage:
        if self.local is not None:
            return Storage(self.local / name)
        parts = urlsplit(self.url)
        return Storage(urlunsplit(parts._replace(path=f"{parts.path.rstrip('/')}/{name}")))

    def __str__(self) -> str:
        parts = urlsplit(self.url)
        if self.local is not None or not parts.password:
            return self.url
        return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))  # a password is nobody's business

    def __repr__(self) -> str:
        return f"Storage({self})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Storage) and other.url == self.url

    def __hash__(self) -> int:
        return hash(self.url)

    def __reduce__(self) -> tuple[Any, ...]:
        return Storage, (self.url,)

    @cached_property
    def local(self) -> Path | None:
        """The folder, where it is one of the operating system's; None behind a URL."""
        return None if "://" in self.url else Path(self.url)

    @cached_property
    def _remote(self) -> tuple[fs.FileSystem, str]:
        filesystem, path = fs.FileSystem.from_uri(self.url)
        return filesystem, path.rstrip("/")

    def open(self, name: str) -> BinaryIO:
        """Open a file to be read; it can be sought in.

        Raises:
            FileNotFoundError: it is not there.
        """
        if self.local is not None:
            return (self.local / name).open("rb")
        filesystem, path = self._remote
        file: BinaryIO = filesystem.open_input_file(f"{path}/{name}")
        return file

    def read(self, name: str) -> bytes:
        """Return a file's content; see :meth:`open`."""
        with self.open(name) as file:
            return file.read()

    def write(self, name: str, content: bytes) -> None:
        """Write a file, in place of one that is there."""
        if self.local is None:
            filesystem, path = self._remote
            if not isinstance(filesystem, fs.S3FileSystem):  # S3 has no folders to make
                filesystem.create_dir(path, recursive=True)
            with filesystem.open_output_stream(f"{path}/{name}") as stream:
                stream.write(content)
            return
        write_file(self.local / name, content)

    def names(self) -> list[str]:
        """Return the names of the files and folders in it, sorted; none where it is not there."""
        if self.local is not None:
            return sorted(entry.name for entry in self.local.iterdir()) if self.local.is_dir() else []
        filesystem, path = self._remote
        found = filesystem.get_file_info(fs.FileSelector(path, allow_not_found=True))
        return sorted(info.base_name for info in found if info.base_name)

    def exists(self, name: str) -> bool:
        """Return whether a file is there."""
        if self.local is not None:
            return (self.local / name).is_file()
        filesystem, path = self._remote
        return bool(filesystem.get_file_info(f"{path}/{name}").type == fs.FileType.File)

    def remove(self, name: str) -> None:
        """Delete a file."""
        if self.local is not None:
            (self.local / name).unlink()
        else:
            filesystem, path = self._remote
            filesystem.delete_file(f"{path}/{name}")

    def write_folder(self, files: Mapping[str, bytes], last: str) -> None:
        """Write files, in place of the folder's; the file `last`, by which others know it whole, comes at the end."""
        self.delete()
        for name in sorted(files, key=lambda name: name == last):
            self.write(name, files[name])

    def delete(self) -> None:
        """Delete the folder with all that is in it; a path is renamed first, so a kill leaves none rather than some."""
        if self.local is None:
            filesystem, path = self._remote
            if filesystem.get_file_info(path).type != fs.FileType.NotFound:
                filesystem.delete_dir(path)
            return
        doomed = self.local.with_name(f".{self.local.name}.deleted")
        shutil.rmtree(doomed, ignore_errors=True)  # of a process that was killed
        if self.local.exists():
            self.local.rename(doomed)
            shutil.rmtree(doomed)
