"""`gsbench rerun`: an entry trained or probed again, and how far the two agree."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gsbench.cli.board import BOARD, truth_of
from gsbench.cli.messages import failed_check, note
from gsbench.cli.progress import progress_bar
from gsbench.core.parsing import InputError

if TYPE_CHECKING:
    from gsbench.board.truth import Truth
    from gsbench.core.results import Result


def add_commands(commands: Any) -> None:
    """Adds this module's command to argparse's subparsers."""
    rerun = commands.add_parser(
        "rerun",
        help="train or probe an entry again and compare",
        description="Trains an entry's recipe again with its seed and task, or fits the probe to its features again, "
        "compares prediction by prediction, and writes a receipt under receipts/ of the board. Exit status 1 where the "
        "two differ by more than chance.",
        allow_abbrev=False,
    )
    rerun.add_argument("entry", metavar="ENTRY", type=Path, help="an entry of the board")
    rerun.add_argument("--data", metavar="DATA", help="(default: the data set that it names)")
    rerun.add_argument("--model", metavar="NAME|RECIPE.toml", help="its recipe (default: the model that it names)")
    rerun.add_argument("--features", metavar="FILE", type=Path, help="of an entry that `gsbench probe` made")
    rerun.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="(default: auto)")
    rerun.add_argument("--board", metavar="DIR", type=Path, default=BOARD, help=f"(default: {BOARD})")
    rerun.set_defaults(run=_rerun)


def _rerun(args: argparse.Namespace) -> int:
    from gsbench.board.rerun import compare_runs, rerun_path, save_rerun
    from gsbench.core.results import load_result

    entry, target = load_result(args.entry), rerun_path(args.board, args.entry)
    truth = truth_of(entry.task, args.board, None)
    again = _probe_again(args, entry, truth) if entry.outside else _train_again(args, entry)
    found = compare_runs(args.entry, args.board, entry, again, truth)
    save_rerun(found, target)
    print(found.text())
    print(target)
    if found.standing == "differ":
        return failed_check(f"{args.entry}: the second run gets other objects right, by more than chance")
    return 0


def _train_again(args: argparse.Namespace, entry: "Result") -> "Result":
    from gsbench.core.baseline import find_recipe

    if args.features is not None:
        raise InputError("--features is of entries that `gsbench probe` made (allowed here: leave it out)")
    name = args.model or entry.model.name
    recipe, _ = find_recipe(name)
    if recipe.sha256() != entry.model.recipe_sha256:
        commit = f" (its commit is {entry.run.commit})" if entry.run.commit else ""
        raise InputError(
            f"{args.entry}: its recipe is {entry.model.recipe_sha256[:12]}, that of {name} here is "
            f"{recipe.sha256()[:12]}{commit}"
        )
    from gsbench.learn.evaluation import Callbacks, evaluate

    task, pretext = entry.task, entry.pretext
    of_points = pretext if task.modality == "images" and pretext else task
    with progress_bar("training") as progress:
        (again,) = evaluate(
            model=name,
            data=args.data or task.dataset,
            modality=task.modality,
            regime=task.regime or 100,
            draw=task.draw,
            features=of_points.features,  # type: ignore[arg-type]  # known of what gsbench trained, as all of it
            sampling=of_points.sampling,  # type: ignore[arg-type]
            num_points=of_points.num_points,
            num_views=task.num_views,
            views_from=task.views_from,  # type: ignore[arg-type]
            cameras=task.cameras if task.views_from == "gaussians" else None,  # type: ignore[arg-type]
            protocol=task.protocol,  # type: ignore[arg-type]
            pretext_views=pretext.num_views if pretext else None,
            seeds=(entry.run.seed or 0,),
            device=args.device,
            precision=entry.run.precision,  # type: ignore[arg-type]
            callbacks=Callbacks(progress, note=note),
        )
    return again


def _probe_again(args: argparse.Namespace, entry: "Result", truth: "Truth") -> "Result":
    import dataclasses

    import numpy as np

    from gsbench.core.metrics import classification_metrics
    from gsbench.store.folder import open_folder
    from gsbench.store.load import resolve

    assert entry.outside is not None, "an entry of features or predictions"
    if entry.outside.kind == "predictions":
        raise InputError(f"{args.entry}: was trained elsewhere (only what gsbench trained or probed can be run again)")
    if args.features is None:
        raise InputError("--features is missing (must be the file of the entry's features)")
    folder = open_folder(resolve(args.data or entry.task.dataset, notify=note))
    from gsbench.learn.features import probe_features, read_features

    features = read_features(args.features, folder)
    if features.sha256 != entry.outside.sha256:
        raise InputError(
            f"{args.features}: features of sha256 {features.sha256[:12]} (must be {entry.outside.sha256[:12]})"
        )
    wanted = (entry.task.regime, entry.task.draw)
    probed = next(each for each in probe_features(features, folder) if (each.regime, each.draw) == wanted)
    ordered = np.array([probed.probabilities[object_id] for object_id in truth.labels])
    metrics = classification_metrics(ordered, truth.indices())
    return dataclasses.replace(entry, predictions=probed.probabilities, metrics=metrics)
