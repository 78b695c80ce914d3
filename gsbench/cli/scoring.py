"""`gsbench eval` and `gsbench models`."""

import argparse
import json
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from gsbench.cli.arguments import positive_int, seed_list
from gsbench.cli.messages import note, progress_line
from gsbench.cli.progress import Epochs, in_words, progress_bar
from gsbench.core.tasks import (
    DRAWS,
    REGIMES,
    CamerasOf,
    Features,
    Modality,
    Protocol,
    Sampling,
    ViewsFrom,
    describe_share,
)

if TYPE_CHECKING:
    from gsbench.board import Truth
    from gsbench.core.recipe import Recipe
    from gsbench.core.results import Result

OUT = Path("results")
PRECISIONS = ("fp32", "bf16")
SMALL = 1000
"""Training objects up to which a recipe's `quick` variant is named."""


def add_commands(commands: Any) -> None:
    """Adds this module's commands to argparse's subparsers."""
    evaluation = commands.add_parser(
        "eval",
        help="train a model, score it on the test objects, and write a Result file a seed",
        description="Trains a model under a frozen regime, scores its last epoch on the test objects, and writes every "
        "prediction to a Result file a seed.",
        allow_abbrev=False,
    )
    _add_eval_options(evaluation)
    evaluation.set_defaults(run=_eval)

    models = commands.add_parser(
        "models",
        help="the baselines and their published figures",
        description="Lists the baselines that come with gsbench.",
        allow_abbrev=False,
    )
    models.add_argument("--json", action="store_true", help="print the recipes as JSON")
    models.set_defaults(run=_models)


def _add_eval_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--model", required=True, metavar="NAME|RECIPE.toml", help="a baseline, NAME:VARIANT, or your own recipe")
    add(
        "--data",
        metavar="mini|FOLDER|ORG/NAME[@REV]",
        help="(default: modelnet10-gs where it can be had, else mini)",
    )
    add("--modality", choices=get_args(Modality), help="what the model sees (default: Gaussians where it takes them)")
    add("--regime", type=int, choices=REGIMES, default=100, help="per cent of the training labels (default: 100)")
    add("--draw", type=int, choices=range(DRAWS), default=0, help="which draw of a regime below 100 (default: 0)")
    add("--features", choices=get_args(Features), help="channels of a Gaussian (default: xyz)")
    add("--sampling", choices=get_args(Sampling), help="of points or Gaussians (default: fps)")
    add("--num-points", type=positive_int, metavar="N", help="points or Gaussians an object (default: 1024)")
    add("--num-views", type=positive_int, metavar="N", help="images an object (default: 12)")
    add("--views-from", choices=get_args(ViewsFrom), help="what the images show (default: meshes)")
    add("--cameras", choices=get_args(CamerasOf), help="that renders of Gaussians are seen from (default: train)")
    add("--protocol", choices=get_args(Protocol), help="(default: supervised, or probe for a model of pairs)")
    add(
        "--pretext-views",
        type=positive_int,
        metavar="N",
        help="images an object that a model of pairs learns from (default: all)",
    )
    add(
        "--split",
        choices=("test", "val"),
        default="test",
        help="what is scored: the test objects, or a fifth of the training objects, held out to choose by (default: "
        "test)",
    )
    add("--seeds", type=seed_list, default=(0,), metavar="0,1,2", help="one run and one Result file each (default: 0)")
    add("--device", choices=("auto", "cpu", "cuda"), default="auto", help="(default: auto)")
    add(
        "--precision",
        choices=PRECISIONS,
        help="of the products in training (default: the recipe's, or fp32 on a CPU and bf16 on CUDA)",
    )
    add("--out", type=Path, default=OUT, metavar="DIR", help=f"where Result files go (default: {OUT})")
    add("--checkpoints", type=Path, metavar="DIR", help="where trainings go on from, and models are kept and found")
    add("--json", action="store_true", help="print metrics and paths as JSON")


def _eval(args: argparse.Namespace) -> int:
    from gsbench.core.baseline import find_recipe
    from gsbench.store.load import default_data, resolve

    recipe, _ = find_recipe(args.model)  # a misspelled name is told before torch is loaded and the Hub is asked
    data, fallback = (args.data, None) if args.data is not None else default_data()
    if fallback:
        note(fallback)
    folder = resolve(data, configs=(), notify=lambda _line: None)  # `evaluate` says it
    from gsbench.core.environment import keep_freed_memory
    from gsbench.learn.evaluation import Callbacks, evaluate

    keep_freed_memory()
    told = Epochs(progress_line, _quicker(args.model, recipe, folder))
    files: list[tuple[Path, Result]] = []
    with progress_bar("training") as progress:

        def step(done: int, total: int, loss: float) -> None:
            told.step(done, total)
            progress(done, total, loss)

        callbacks = Callbacks(
            step,
            partial(progress, what="reading images"),
            partial(progress, what="features"),
            note,
            told.epoch,
            lambda path, result: files.append((path, result)),
        )
        results = evaluate(
            model=args.model,
            data=data,
            modality=args.modality,
            regime=args.regime,
            draw=args.draw,
            features=args.features,
            sampling=args.sampling,
            num_points=args.num_points,
            num_views=args.num_views,
            views_from=args.views_from,
            cameras=args.cameras,
            protocol=args.protocol,
            pretext_views=args.pretext_views,
            split=args.split,
            seeds=args.seeds,
            device=args.device,
            precision=args.precision,
            out=args.out,
            checkpoints=args.checkpoints,
            callbacks=callbacks,
        )
    from gsbench.board import make_truth

    truth = make_truth(folder, args.split)
    whole = sum(truth.train_counts.values())
    if args.json:
        print(_as_json(files, truth))
        return 0
    print(_as_table(results, truth, whole))
    for path, result in files:
        epochs, taken = result.run.epochs, (result.run.train_seconds or 0, result.run.eval_seconds or 0)
        trained = f"{epochs} epoch{'s' * (epochs != 1)} in {in_words(taken[0])}"
        print(f"{path}: {trained}, scored in {in_words(taken[1])}")
    return 0


def _quicker(model: str, recipe: "Recipe", data: Path) -> str:
    """The variant that takes a minute on little data, to be told where another takes long."""
    from gsbench.store.manifest import load_manifest

    objects = min(sum(splits["train"].values()) for splits in load_manifest(data).counts.values())
    if ":" in model or "quick" not in recipe.variants or objects > SMALL:
        return ""
    return f"; {model}:quick is made for so little data"


def _as_table(results: "list[Result]", truth: "Truth", whole: int) -> str:
    import numpy as np
    from tabulate import tabulate

    from gsbench.board.cells import accuracy_without, describe_figure, describe_input, leak_columns, percent
    from gsbench.board.entries import correct_objects
    from gsbench.core.metrics import mean_and_std

    first = results[0]
    without = accuracy_without(truth, np.stack([correct_objects(result, truth) for result in results]))
    share = describe_share(first.task.regime, first.run.train_objects, whole)
    regime = share if first.task.regime == 100 else f"{share}, draw {first.task.draw}"
    row = {
        "model": first.model.name,
        "data": f"{first.task.dataset} ({len(first.predictions)} {truth.split} objects)",
        "input": describe_input(first.task),
        "labels": regime,
        "accuracy": percent(*mean_and_std([result.metrics["accuracy"] for result in results])),
        "class acc.": percent(*mean_and_std([result.metrics["class_accuracy"] for result in results])),
        **leak_columns(truth, without),
        "n": len(results),
        "published": describe_figure(first.reported),
    }
    lines = [tabulate([row], headers="keys", tablefmt="github", disable_numparse=True), *_beside(results)]
    if truth.split == "val":
        lines.append("validation split: to choose by; the board takes the test split alone")
    if first.reported:
        lines.append(f"published: {first.reported.source}")
    return "\n".join(lines)


def _beside(results: "list[Result]") -> list[str]:
    """Lines on what predictions do not give, in the mean over seeds."""
    from gsbench.board.table import unverified_means, unverified_score

    stated = unverified_means(results)
    words = {"accuracy": "accuracy", "knn_accuracy": "5 nearest neighbors", "retrieval_map": "retrieval mAP"}
    scores = {name: unverified_score(stated, key) for key, name in words.items()}
    told = [f"{name} {score}" for name, score in scores.items() if score is not None]
    if "psnr" in stated:
        told.append(f"renders of {stated['psnr']:.1f} dB")
    draws = ""
    if "sampling_draws" in stated:
        draws = f", over {stated['sampling_draws']:.0f} draws of the {results[0].task.split} objects' points"
    lines = [f"beside it{draws}: {', '.join(told)}"] if told else []
    if results[0].pretext:
        lines.append(
            "pretext tasks: cross-modality {cross_modality_accuracy:.1%} (always yes: {cross_modality_floor:.1%}), "
            "balanced {cross_modality_balanced:.1%}; paired distances {mpd_positive:.3g} and {mpd_negative:.3g}, "
            "ratio {mpd_ratio:.2f}, AUC {mpd_auc:.3f}".format(**stated)
        )
    if (precision := results[0].precision) != "fp32":
        lines.append(f"trained in {precision}")
    return lines


def _as_json(files: "list[tuple[Path, Result]]", truth: "Truth") -> str:
    from gsbench.board.cells import accuracy_without
    from gsbench.board.entries import correct_objects

    records = [asdict(result) | {"path": str(path)} for path, result in files]
    for record, (_, result) in zip(records, files, strict=True):
        del record["predictions"]
        record["accuracy_without_leaked"] = accuracy_without(truth, correct_objects(result, truth)[None])
    return json.dumps(records, indent=1)


def _models(args: argparse.Namespace) -> int:
    from gsbench.core.baseline import shipped_recipes
    from gsbench.core.recipe import load_recipe

    recipes = [load_recipe(path) for path in shipped_recipes().values()]
    if args.json:
        print(json.dumps([asdict(recipe) for recipe in recipes], indent=1))
        return 0
    from tabulate import tabulate

    print(tabulate([_describe(recipe) for recipe in recipes], headers="keys", tablefmt="github", disable_numparse=True))
    return 0


def _describe(recipe: "Recipe") -> dict[str, str]:
    published: dict[str, list[float]] = {}  # a recipe may have one for each number of views
    for figure in recipe.reported:
        published.setdefault(f"{figure.dataset} ({figure.modality}, {figure.regime} %", []).append(figure.accuracy)
    figures = [
        f"{100 * max(values):.1f} on {where}{f', best of {len(values)}' if len(values) > 1 else ''})"
        for where, values in published.items()
    ]
    return {
        "model": recipe.name,
        "title": recipe.title,
        "variants": ", ".join(f"{recipe.name}:{variant}" for variant in recipe.variants),
        "epochs": str(sum(how.epochs for how in (*recipe.pretraining, recipe.train))),
        "published accuracy": "; ".join(figures),
        "paper": recipe.paper,
    }
