"""Which model was scored, and how the run went that scored it."""

from dataclasses import dataclass
from typing import Literal

from gsbench.core.parsing import (
    MAX_INTEGER,
    InputError,
    check_choice,
    check_hex,
    check_link,
    check_range,
    check_text,
)
from gsbench.core.recipe import check_model_name
from gsbench.core.tasks import UNKNOWN

PRECISIONS = ("fp32", "bf16")

MOST = {
    "seed": MAX_INTEGER,
    "epochs": 10**7,
    "train_objects": 10**9,
    "objects": 10**9,
    "num_points": 10**9,
    "num_views": 10**6,
    "train_seconds": 1e9,
    "eval_seconds": 1e9,
    "peak_memory_mb": 1e9,
}
"""The most that these of a run can be."""

_MAX_VERSIONS = 32


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """Which model was scored.

    Attributes:
        name: of its recipe.
        title: in tables.
        recipe_sha256: of what decides a score in the recipe, see `Recipe.sha256`; or `unknown`.
        num_params: numbers that it learned; None where it is unknown.
        pretrained: the weights it started from, `unknown`, or None where it started from none.
        code_sha256: of the code that made the score, see `gsbench.core.baseline.code_sha256`; None where it is unknown.
    """

    name: str
    title: str
    recipe_sha256: str
    num_params: int | None
    pretrained: str | None = None
    code_sha256: str | None = None

    def __post_init__(self) -> None:
        check_model_name(self.name)
        check_text("title", self.title)
        if self.recipe_sha256 != UNKNOWN:
            check_hex("recipe_sha256", self.recipe_sha256)
        if self.num_params is not None:
            check_range("num_params", self.num_params, 0, MAX_INTEGER)
        if self.pretrained is not None:
            check_text("pretrained", self.pretrained)
        if self.code_sha256 is not None:
            check_hex("code_sha256", self.code_sha256)


@dataclass(frozen=True, slots=True)
class RunInfo:
    """How the score was made. Times in seconds; `selection` says which checkpoint was scored.

    `peak_memory_mb` is that of this seed's training and scoring; None where an earlier one in the same process was
    higher and could not be told from it. Records of schema version 1 have the process's. Of a model trained elsewhere
    a number that nobody has said is None, a word `unknown`.
    """

    seed: int | None
    device: str
    selection: str
    epochs: int | None
    train_objects: int | None
    train_seconds: float | None
    eval_seconds: float | None
    peak_memory_mb: float | None
    precision: str
    versions: dict[str, str]
    commit: str | None
    dirty: bool | None

    def __post_init__(self) -> None:
        for key in ("seed", "epochs", "train_objects", "train_seconds", "eval_seconds", "peak_memory_mb"):
            if (value := getattr(self, key)) is not None:
                check_range(key, value, int(key == "train_objects"), MOST[key])
        check_text("device", self.device)
        check_choice("selection", self.selection, ("last", "val", UNKNOWN))
        check_choice("precision", self.precision, (*PRECISIONS, UNKNOWN))
        if len(self.versions) > _MAX_VERSIONS:
            raise InputError(f"versions has {len(self.versions)} keys (allowed: {_MAX_VERSIONS})")
        for name, version in self.versions.items():
            check_text("a key of versions", name)
            check_text(f"versions.{name}", version)
        if self.commit is not None:
            check_hex("commit", self.commit, (40, 64))


@dataclass(frozen=True, slots=True)
class Outside:
    """A model that gsbench did not train, by what was handed in of it.

    Attributes:
        kind: its predictions, or its features of training and test objects, on which gsbench fitted a probe.
        sha256: of the file of predictions; of features, of their ids and numbers, see `features_sha256`.
        paper: a link to what describes it; None where it is unknown.
        code: a link to its code; None where it is unknown.
    """

    kind: Literal["predictions", "features"]
    sha256: str
    paper: str | None = None
    code: str | None = None

    def __post_init__(self) -> None:
        check_choice("kind", self.kind, ("predictions", "features"))
        check_hex("sha256", self.sha256)
        for key in ("paper", "code"):
            if (link := getattr(self, key)) is not None:
                check_link(key, link)
