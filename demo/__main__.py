"""`python -m demo`: real networks, a server, and figures of what they see."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from rich.console import Console

from demo import figures, models, photographs, training
from demo.readme import write_small
from demo.server import serving
from unpool.client import Client, ComparedFeature, EvolutionStep, Settling, Side, sheets

HERE = Path(__file__).resolve().parent


def main() -> None:
    """Run the demo."""
    parser = argparse.ArgumentParser(prog="python -m demo", description=__doc__)
    parser.add_argument("--out", type=Path, default=HERE / "out", help="folder for the models and the figures")
    parser.add_argument("--images", type=Path, help="also write the README's small pictures to this folder")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    console = Console()
    began = time.monotonic()

    console.rule("1. real networks into a model repository")
    with console.status("converting"):
        models.put(options.out / "models", lambda line: console.print(f"  {line}", markup=False, highlight=False))

    data = options.out / "data"
    data.mkdir(parents=True, exist_ok=True)
    with console.status("training a small network on handwritten digits"):
        right = training.put(options.out / "models", data)
    console.print(f"  {training.NAME}: {right:.1%} right after {training.EPOCHS[-1]} epochs", highlight=False)

    console.rule("2. unpool serve")
    log = options.out / "server.log"
    gallery = figures.Gallery(options.out / "figures")
    with serving(options.out / "models", log, data) as client:
        console.print(f"  serving on {client.target}, log in {log}", highlight=False)
        for model in client.models():
            console.print(f"  {model.name}: {model.state}", highlight=False)
        _look(console, client, gallery)
        _evolve(console, client, options.out)

    if options.images:
        for path in write_small(gallery.folder, options.images):
            console.print(f"  {path}", highlight=False)
    console.rule(f"{len(gallery.saved)} figures in {time.monotonic() - began:.0f} s")
    for path in gallery.saved:
        console.print(f"  {path}", highlight=False)


def _look(console: Console, client: Client, gallery: figures.Gallery) -> None:
    console.rule("3. what the networks say")
    for photograph in photographs.FILES:
        answer = client.classify(models.EFFICIENTNET, photographs.load(photograph), top=3, probability=True)
        said = "; ".join(f"{c.label.split(',')[0]} {c.score:.2f}" for c in answer.classes)
        console.print(f"  {photograph}: {said}", highlight=False)

    console.rule("4. what they see")
    with console.status("asking for projections") as status:
        for model, depths in models.DEPTHS.items():
            for depth in depths:
                for photograph in models.PHOTOGRAPHS[model]:
                    status.update(f"{model} {depth.name}: {photograph}")
                    policy = models.POLICY[model]
                    warnings = figures.strongest_of_photograph(client, gallery, model, depth, photograph, policy)
                console.print(f"  {model} {depth.name}: {', '.join(models.PHOTOGRAPHS[model])}", highlight=False)
                for warning in warnings:
                    console.print(f"    the server notes: {warning}", highlight=False, markup=False)
        for model, compared in models.COMPARED.items():
            for depth in compared:
                status.update(f"{model} {depth.name}: three policies")
                figures.three_policies(client, gallery, model, depth, "cat")
                console.print(f"  {model} {depth.name}: deconvnet, guided and gradient", highlight=False)
        crops = [crop for name in photographs.FILES for crop in photographs.crops(name)]
        console.print(f"  the nine strongest of {len(crops)} crops, per feature", highlight=False)
        figures.top_nine(client, gallery, models.VGG, models.DEPTHS[models.VGG], crops, status.update)


def _evolve(console: Console, client: Client, out: Path) -> None:
    console.rule("5. how features came to be")
    source = out / "data" / "digits.npz"
    with console.status("scanning eight checkpoints"):
        stream = client.evolution(training.NAME, source, layer=training.LAYER, channels=range(6))
        items = list(stream)
    sheets.evolution([i for i in items if isinstance(i, EvolutionStep)]).save(out / "figures" / "evolution.png")
    for settled in (i for i in items if isinstance(i, Settling)):
        console.print(
            f"  epoch {settled.earlier} to {settled.later}: {settled.share:.0%} of {training.LAYER}'s features "
            "changed their strongest image",
            highlight=False,
        )
    first, last = (Side(training.NAME, version) for version in (training.EPOCHS[0], training.EPOCHS[-1]))
    compared = client.compare([first, last], source, layer=training.LAYER, channels=range(6))
    drawn = sheets.comparison([i for i in compared if isinstance(i, ComparedFeature)])
    drawn.save(out / "figures" / "comparison.png")
    channels = list(client.channels(training.NAME, layer=training.LAYER))
    alive = [channel.channel for channel in channels if channel.exemplars]
    found = list(client.project_exemplars(training.NAME, layer=training.LAYER, channels=alive))
    page = sheets.sheet(channels, found, title=f"{training.NAME} {training.LAYER}")
    (out / "figures" / "digits.html").write_text(page, encoding="utf-8")
    written = ", ".join(str(out / "figures" / name) for name in ("evolution.png", "comparison.png", "digits.html"))
    console.print(f"  {written}", highlight=False)


if __name__ == "__main__":
    main()
