"""The command line: `hourglass encode`, `decode`, `search`, `models`, and the commands that other packages add."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from importlib.metadata import EntryPoint, PackageNotFoundError, entry_points, version
from typing import Annotated

import typer
from PIL import Image
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Column, Table

from serving.bundle import BATCH_SIZE, Bundle, BundleError
from serving.decoding import decode_from_shards
from serving.encoding import encode_to_shards
from serving.inputs import InputError, local_path, open_input
from serving.locks import LockedError
from serving.registry import RegistryError, registered_models
from serving.search import draw_sheet, excerpts, manifest_for, query_items
from serving.search import search as find
from serving.shards import ShardsError, read_codes_manifest

EXPECTED_ERRORS = (BundleError, InputError, LockedError, RegistryError, ShardsError, OSError)

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


class OnError(StrEnum):
    """Reaction to an item that cannot be read."""

    stop = "stop"
    skip = "skip"


Model = Annotated[
    str, typer.Option("--model", "-m", help="A bundle's folder, such as bundles/mnist/deep, or models:/NAME@ALIAS.")
]
Out = Annotated[str, typer.Option("--out", "-o", help="The folder to write to.")]
BatchSize = Annotated[int, typer.Option(min=1, help="Items in a batch.")]
Threads = Annotated[int | None, typer.Option(min=1, help="Threads that run the model; by default one for each CPU.")]


def _show_version(wanted: bool) -> None:
    if not wanted:
        return
    try:
        typer.echo(f"hourglass {version('hourglass')}")
    except PackageNotFoundError:
        typer.echo("hourglass, run from its sources without installation")
    raise typer.Exit


@app.callback()
def _hourglass(
    _: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Encode items with a trained autoencoder, and decode them again."""


@app.command()
def encode(
    source: Annotated[str, typer.Argument(metavar="INPUT", help="A folder of images or texts, an array, or a table.")],
    model: Model,
    out: Out,
    on_error: Annotated[OnError, typer.Option(help="At a broken item: stop, or skip it and list it.")] = OnError.stop,
    batch_size: BatchSize = BATCH_SIZE,
    threads: Threads = None,
    resize: Annotated[
        bool | None,
        typer.Option(
            "--resize/--strict",
            help="Scale and crop images of another size, or refuse them; by default as in training.",
            show_default=False,
        ),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace codes of another job in the folder.")] = False,
    column: Annotated[str | None, typer.Option(help="The column of images, or of texts.")] = None,
) -> None:
    """Encode a folder, an array or a table into Parquet shards of codes. A job that was killed resumes."""
    bundle = Bundle.load(model, threads)
    items = open_input(source, bundle.manifest.item, resize=resize, column=column)
    with _progress("encoding", items.total) as advance:
        manifest = encode_to_shards(
            items, bundle, out, on_error=on_error.value, batch_size=batch_size, overwrite=overwrite, progress=advance
        )
    skipped = f", {len(manifest.skipped)} skipped (listed in manifest.json)" if manifest.skipped else ""
    typer.echo(f"{manifest.items} items in {out}, {manifest.code.bits_per_item:g} bits each{skipped}")


@app.command()
def decode(
    codes: Annotated[str, typer.Argument(metavar="CODES_DIR", help="A folder written by encode.")],
    model: Model,
    out: Out,
    batch_size: BatchSize = BATCH_SIZE,
    threads: Threads = None,
) -> None:
    """Decode a folder of codes into PNG files, or into one array for items that are not images."""
    bundle = Bundle.load(model, threads)
    with _progress("decoding", read_codes_manifest(local_path(codes)).items) as advance:
        count = decode_from_shards(codes, bundle, out, batch_size=batch_size, progress=advance)
    typer.echo(f"{count} items in {out}")


@app.command()
def search(
    codes: Annotated[str, typer.Argument(metavar="CODES_DIR", help="A folder written by encode.")],
    query: Annotated[str, typer.Argument(help="A text, or for other models a file: an image, or an .npy array.")],
    model: Model,
    count: Annotated[int, typer.Option("--count", "-n", min=1, help="Items to find.")] = 10,
    sheet: Annotated[str | None, typer.Option(help="Draw the query and the images found into this file.")] = None,
    column: Annotated[str | None, typer.Option(help="The input's column of texts, by default `text`.")] = None,
    threads: Threads = None,
) -> None:
    """Find the items whose codes are nearest to that of a query."""
    bundle = Bundle.load(model, threads)
    items = query_items(query, bundle.manifest.item)
    found = find(codes, bundle, items, count)
    manifest, ids = manifest_for(codes, bundle), [one.id for one in found]
    words = excerpts(manifest, bundle, ids, column)
    if bundle.manifest.item.kind == "text" and not words:
        typer.echo(f"note: {manifest.input} is not as it was when it was encoded, so no words are shown", err=True)
    for place, one in enumerate(found, start=1):
        typer.echo("\t".join([str(place), f"{one.distance:.4g}", one.id, *filter(None, [words.get(one.id)])]))
    if sheet is not None:
        draw_sheet(manifest, items[0], ids, bundle.manifest.item, local_path(sheet))


@app.command()
def models() -> None:
    """List the registered models. Encode and decode take them as models:/NAME@ALIAS or models:/NAME/VERSION."""
    head = ("model", "version", "aliases", "squared error", "bits per item", "created")
    rows = [
        (
            model.name,
            str(model.version),
            ", ".join(model.aliases),
            model.tags.get("squared_error", ""),
            model.tags.get("bits_per_item", ""),
            f"{model.created.astimezone():%Y-%m-%d %H:%M}",
        )
        for model in registered_models()
    ]
    console = Console()
    if not console.is_terminal:  # for grep, cut and sort: a line a model, nothing shortened
        sys.stdout.writelines("\t".join(row) + "\n" for row in (head, *rows))
        return
    table = Table(*(Column(title, overflow="fold") for title in head))
    for row in rows:
        table.add_row(*row)
    console.print(table)


def _add(point: EntryPoint) -> None:
    """Add a command of another package, which is imported only when it is run."""

    @app.command(name=point.name, help=f"{point.name.capitalize()} the project around this folder ({point.module}).")
    def command() -> None:
        try:
            run = point.load()
        except ImportError as error:
            typer.echo(
                f"hourglass: {point.name} needs the package {error.name}, which the extra `train` installs: "
                "pip install '.[train]'",
                err=True,
            )
            raise typer.Exit(1) from None
        run()


for _point in entry_points(group="hourglass.commands"):
    _add(_point)


@contextmanager
def _progress(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """Show a progress bar on stderr, if that is a terminal."""
    console = Console(stderr=True)
    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task(what, total=total)
        yield lambda count: bar.advance(task, count)


def main() -> None:
    """Run the command line. An expected error is one line on stderr and exit code 1."""
    warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # they are refused with an error
    try:
        app()
    except EXPECTED_ERRORS as error:
        typer.echo(f"hourglass: {' '.join(str(error).split())}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
