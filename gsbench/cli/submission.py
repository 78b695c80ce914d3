"""`gsbench submit` and `gsbench probe`: what a model predicts, or features of it, onto a board."""

import argparse
import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from gsbench.cli.arguments import positive_int
from gsbench.cli.board import BOARD, publish_board, truth_of
from gsbench.cli.messages import bad_input, failed_check, note
from gsbench.core.parsing import InputError
from gsbench.core.tasks import DRAWS, REGIMES, CamerasOf, Features, Modality, Protocol, Sampling, ViewsFrom

if TYPE_CHECKING:
    from gsbench.board.outside import Claim
    from gsbench.board.submission import Candidate, Receipt
    from gsbench.board.truth import Truth


def add_commands(commands: Any) -> None:
    """Adds this module's command to argparse's subparsers."""
    submit = commands.add_parser(
        "submit",
        help="check Result files or predictions and put them on the board",
        description="Recomputes every metric of each Result from its predictions, puts the files on the board "
        "(all of them, or none), and renders the tables. What a Result states beside its metrics, predictions do not "
        "give: that is not checked. The same predictions again reproduce the entry that is there, which stays. "
        "With --predictions the model was trained elsewhere: what you do not say of it stands as unknown.",
        allow_abbrev=False,
    )
    submit.add_argument("results", metavar="RESULT.json", type=Path, nargs="*", help="what `gsbench eval` wrote")
    submit.add_argument(
        "--predictions",
        metavar="FILE",
        type=Path,
        nargs="+",
        help="class probabilities of all test objects, .csv, .parquet or .json; a file a seed",
    )
    submit.add_argument("--data", metavar="DATA", help="data folder or name with the test labels")
    submit.add_argument("--seed", type=int, nargs="+", metavar="K", help="of each file's training")
    add_claim_options(submit)
    add_board_options(submit)
    submit.set_defaults(run=_submit)

    probe = commands.add_parser(
        "probe",
        help="score frozen features of any encoder and put them on the board",
        description="Takes features of all training and test objects (object_id and features, as arrays of .npz or "
        "columns of .parquet), fits the board's linear probe in every regime and draw, adds nearest neighbors and "
        "retrieval, and puts an entry for each on the board, with the hash of the features.",
        allow_abbrev=False,
    )
    probe.add_argument("features_file", metavar="FEATURES", type=Path, help=".npz or .parquet")
    probe.add_argument("--data", metavar="DATA", help="data folder or name with the labels")
    probe.add_argument("--seed", type=int, metavar="K", help="of the encoder's training")
    add_claim_options(probe, trained=False)
    add_board_options(probe)
    probe.set_defaults(run=_probe)


def add_claim_options(parser: argparse.ArgumentParser, trained: bool = True) -> None:
    """Options for what is said of a model that was trained elsewhere."""
    add = parser.add_argument_group("of a model trained elsewhere (what is not said is unknown)").add_argument
    add("--name", help="of the model: letters, digits and . _ + : / -")
    add("--title", help="of the model in tables (default: its name)")
    add("--modality", choices=get_args(Modality), help="what the model sees")
    if trained:
        add("--protocol", choices=get_args(Protocol), help="how it was trained")
        add("--regime", type=int, choices=REGIMES, help="per cent of the training labels")
        add("--draw", type=int, choices=range(DRAWS), help="of a regime below 100")
    add("--features", choices=get_args(Features), help="channels of a Gaussian")
    add("--sampling", choices=get_args(Sampling), help="of points or Gaussians")
    add("--num-points", type=positive_int, metavar="N", help="points or Gaussians an object")
    add("--num-views", type=positive_int, metavar="N", help="images an object")
    add("--views-from", choices=get_args(ViewsFrom), help="what the images show")
    add("--cameras", choices=get_args(CamerasOf), help="that renders of Gaussians are seen from")
    add("--pretrained", help="the weights that it started from")
    add("--paper", metavar="URL", help="that describes it")
    add("--code", metavar="URL", help="of its code")


def add_board_options(parser: argparse.ArgumentParser) -> None:
    """Options for where an entry goes, and whether."""
    parser.add_argument("--board", metavar="DIR", type=Path, default=BOARD, help=f"(default: {BOARD})")
    parser.add_argument("--dry-run", action="store_true", help="show the row as it would stand, and write nothing")
    parser.add_argument(
        "--pr",
        nargs="?",
        const="",
        metavar="ORG/NAME",
        help="open a pull request on a board on the Hub; without a name, commit the entries on a branch of the "
        "board's git repository and print what is left to do",
    )
    parser.add_argument(
        "--reviewed", action="store_true", help="a maintainer has looked at the twins or the score that hold it back"
    )


_CLAIM = (
    "name", "title", "modality", "protocol", "regime", "draw", "features", "sampling", "num_points", "num_views",
    "views_from", "cameras", "pretrained", "paper", "code",
)  # fmt: skip


def claim_of(args: argparse.Namespace) -> "Claim":
    """What the options say of a model."""
    from gsbench.board.outside import Claim

    missing = [f"--{key}" for key in ("name", "modality", "data") if getattr(args, key) is None]
    if missing:
        raise InputError(f"{', '.join(missing)} missing (a model trained elsewhere needs them)")
    said = {key: getattr(args, key) for key in _CLAIM if getattr(args, key, None) is not None}
    return Claim(**said)


def _submit(args: argparse.Namespace) -> int:
    from gsbench.board.predictions import Faults

    if bool(args.results) == bool(args.predictions):
        raise InputError("RESULT.json or --predictions FILE is missing (must be one of them, not both)")
    try:
        candidates = _outside(args) if args.predictions else _results(args)
    except Faults as error:
        for fault in error.faults:
            bad_input(fault)
        return 2
    return enter_board(candidates, args)


def _results(args: argparse.Namespace) -> "list[Candidate]":
    from gsbench.board import truth_path
    from gsbench.board.submission import read_candidate
    from gsbench.core.results import load_result

    said = [key for key in (*_CLAIM, "seed") if getattr(args, key) is not None]
    if said:
        raise InputError(f"--{said[0].replace('_', '-')} is of --predictions (allowed with RESULT.json: leave it out)")
    truths: dict[Path, Truth] = {}
    candidates = []
    for path in args.results:
        task = load_result(path).task
        known = truth_path(args.board, task)
        if known not in truths:
            truths[known] = truth_of(task, args.board, args.data)
        candidates.append(read_candidate(path, truths[known]))
    return candidates


def _outside(args: argparse.Namespace) -> "list[Candidate]":
    from gsbench.board.outside import results_of
    from gsbench.board.submission import make_candidate

    claim = claim_of(args)
    truth = find_truth(args.data, args.board)
    results = results_of(args.predictions, args.seed, claim, truth)
    return [make_candidate(str(path), result, truth) for path, result in zip(args.predictions, results, strict=True)]


def _probe(args: argparse.Namespace) -> int:
    from gsbench.board import make_truth
    from gsbench.board.outside import features_result
    from gsbench.board.submission import make_candidate
    from gsbench.store.folder import open_folder
    from gsbench.store.load import resolve

    claim = claim_of(args)
    path = resolve(args.data, notify=note)
    truth, folder = make_truth(path, "test"), open_folder(path)
    claim.task(truth)  # what is said wrongly is told before torch is loaded
    from gsbench.learn.features import probe_features, read_features

    features = read_features(args.features_file, folder)
    print(f"features of {len(features.rows)} objects, {features.values.shape[1]} wide, sha256 {features.sha256}")
    candidates = []
    for probed in probe_features(features, folder):
        said = dataclasses.replace(claim, protocol="probe", regime=probed.regime, draw=probed.draw)
        result = features_result(
            said, args.seed, truth, probed.probabilities, probed.train_objects, probed.stated, features.sha256
        )
        others = ", ".join(f"{key} {100 * value:.1f}" for key, value in probed.stated.items())
        print(f"{probed.regime} %, draw {probed.draw}: probe {100 * probed.accuracy:.1f}, {others}")
        candidates.append(make_candidate(str(args.features_file), result, truth))
    return enter_board(candidates, args)


def find_truth(data: str, board: Path) -> "Truth":
    """The test labels of a data folder, of a data set by name that the board knows, or of one that can be had."""
    from gsbench.board import load_truth, make_truth
    from gsbench.store.load import resolve

    known = sorted((board / "datasets").glob("*.json")) if not Path(data).is_dir() else []
    named = [path for path in known if data in (path.stem, path.stem.partition("@")[0])]
    if len(named) > 1:
        raise InputError(f"--data {data}: the board has several (allowed: {', '.join(path.stem for path in named)})")
    return load_truth(named[0]) if named else make_truth(resolve(data, notify=note), "test")


def enter_board(candidates: "list[Candidate]", args: argparse.Namespace) -> int:
    """Puts candidates on the board, and shows what came of it; returns the exit status.

    Of Result files that are put there the paths are all; their rows and what was checked are shown by a dry run.
    """
    from gsbench.board import CheckError
    from gsbench.board.pull_request import check_git
    from gsbench.board.receipts import receipt_text
    from gsbench.board.submission import enter

    branch = f"submit-{candidates[0].result.file_name().removesuffix('.json')}"
    if args.pr == "" and not args.dry_run:
        check_git(args.board, branch)
    try:
        receipt = enter(candidates, args.board, args.reviewed, args.dry_run or bool(args.pr))
    except CheckError as error:
        return failed_check(str(error))
    if args.pr is not None:
        print(receipt_text(receipt, args.dry_run))
        if not receipt.findings and not args.dry_run:
            _request(candidates, receipt, args, branch)
        return _told(receipt)
    if receipt.written:
        for path, new in receipt.entries:
            print(path if new else f"{path} (on the board already: reproduced)")
        publish_board(args.board)
    if any(each.result.outside for each in candidates) or not receipt.written:
        print(receipt_text(receipt, args.dry_run))
    return _told(receipt)


def _request(candidates: "list[Candidate]", receipt: "Receipt", args: argparse.Namespace, branch: str) -> None:
    """Opens a request with the new entries, or writes the branch for one."""
    from gsbench.board.pull_request import open_on_hub, write_branch

    new = [(path, each.data) for (path, new), each in zip(receipt.entries, candidates, strict=True) if new]
    if not new:
        raise InputError(f"--pr: {args.board} has all of it already")
    title = f"Entries of {candidates[0].result.model.name}"
    if args.pr:
        print(open_on_hub({path.relative_to(args.board).as_posix(): data for path, data in new}, args.pr, title))
        return
    for command in write_branch(args.board, [path for path, _ in new], branch, title):
        print(command)


def _told(receipt: "Receipt") -> int:
    for finding in receipt.findings:
        failed_check(f"held for review: {finding} (nothing is written; a maintainer who has looked adds --reviewed)")
    return 1 if receipt.findings else 0
