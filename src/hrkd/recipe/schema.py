"""The recipe: one definition per field.

Each field's annotation, default, bounds and docstring serve the YAML key, the command-line flag, its help
text, the check and the JSON Schema. Nothing here imports torch, so that ``--help`` and recipe errors are
quick. A section is handed down whole, as far as its fields are used: a new field of the method is a line here, and
its use.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self, get_args

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PositiveFloat,
    PositiveInt,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from hrkd.recipe.codes import ignore_problems
from hrkd.recipe.graph_forms import GRAPH_FORMS, Graph, GraphForm
from hrkd.recipe.presets import Preset, with_preset
from hrkd.recipe.rules import NO_STATES, ONE_CLASSIFIER, method_contradictions
from hrkd.support.folder_names import fault_of_path

__all__ = [
    "SEEDS",
    "TABLE_SUFFIXES",
    "CacheConfig",
    "DataConfig",
    "EvaluationConfig",
    "Keep",
    "MethodConfig",
    "Recipe",
    "RunConfig",
    "Seed",
    "StudentConfig",
    "StudentTrainingConfig",
    "SyntheticConfig",
    "TeacherConfig",
    "TrainingConfig",
]

Fraction = Annotated[float, Field(gt=0, lt=1)]
Probability = Annotated[float, Field(ge=0, le=1)]
NonNegative = Annotated[float, Field(ge=0)]
SEEDS = 2**32
"""Seeds that there are: numpy's generators take no others."""
Seed = Annotated[int, Field(ge=0, lt=SEEDS)]
TABLE_SUFFIXES = (".csv", ".tsv", ".jsonl", ".parquet")
"""How the names of tables end, but for .gz behind them."""
Keep = Literal["head", "tail", "head_tail", "windows"]
# The names that accelerate knows, written out so that a recipe is checked without importing it.
Tracker = Literal[
    "aim", "clearml", "comet_ml", "dvclive", "mlflow", "swanlab", "tensorboard", "trackio", "wandb", "all"
]

PRETRAINED_LEARNING_RATE, NEW_LEARNING_RATE, STATIC_LEARNING_RATE = 5e-5, 6e-4, 3e-3
"""Of a student without layers."""
PLACES = ("source", "unlabelled", "splits_file", "model", "fine_tuned", "checkpoint", "folder", "output")
"""Fields of any section that name files or folders."""


class Section(BaseModel):
    """Common behaviour: unknown fields are errors, objects are immutable, docstrings are descriptions."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, use_attribute_docstrings=True, validate_default=True, allow_inf_nan=False
    )

    checked_elsewhere: ClassVar[frozenset[str]] = frozenset()
    """Fields that pass on values which this section does not know."""

    leaves_weights_alone: ClassVar[frozenset[str]] = frozenset()
    """Fields that the weights of a model do not depend on (see :mod:`hrkd.run.identity`)."""

    @field_validator("*", mode="before")
    @classmethod
    def _switches_are_no_numbers(cls, value: Any, info: ValidationInfo) -> Any:
        annotation = cls.model_fields[info.field_name or ""].annotation
        takes_one = info.field_name in cls.checked_elsewhere or any(
            isinstance(each, type) and issubclass(each, bool | BaseModel)
            for each in (get_args(annotation) or (annotation,))
        )
        if not takes_one and _holds_a_switch(value):
            raise PydanticCustomError("switch", "true and false belong to switches, not to this field")
        return value

    @field_validator(*PLACES, check_fields=False)
    @classmethod
    def _can_be_named(cls, value: Any) -> Any:
        for place in value.values() if isinstance(value, dict) else () if value is None else (value,):
            if fault := fault_of_path(place):
                raise PydanticCustomError("place", "{fault}", {"fault": fault})
        return value

    @model_validator(mode="after")
    def _fields_agree(self) -> Self:
        if lines := "\n".join(self._contradictions()):
            raise ValueError(lines)
        return self

    def _contradictions(self) -> Iterator[str]:
        """One line for each; it may begin with the name of the field it is about."""
        return iter(())


def _holds_a_switch(value: Any) -> bool:
    """Whether ``value`` is, or directly contains, a bool (which Python would take for 0 or 1)."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list | tuple):
        return any(_holds_a_switch(item) for item in value)
    return isinstance(value, bool)


class SyntheticConfig(Section):
    """The generated review corpus of ``data.format: synthetic``."""

    domains: Annotated[int, Field(ge=2, le=8)] = 4
    """Number of domains to generate."""

    examples: Annotated[int, Field(ge=40)] = 800
    """Reviews per domain."""

    relatedness: Probability = 0.8
    """How alike domains of one group are: 1 = they share all polarities of ambiguous words, 0 = none beyond chance."""

    label_noise: Annotated[float, Field(ge=0, lt=0.5)] = 0.03
    """Share of labels flipped at random."""


class DataConfig(Section):
    """Where labelled text of several domains comes from, and how it is split."""

    leaves_weights_alone: ClassVar[frozenset[str]] = frozenset({"ignore"})

    source: str | None = None
    """File (.csv, .tsv, .jsonl, .parquet, also .gz), folder of such files, saved `datasets` folder, or hub name."""

    format: Literal["auto", "table", "dataset", "amazon_reviews", "fdu_mtl", "mnli", "synthetic"] = "auto"
    """Layout of the source; `auto` tells tables from saved `datasets` folders and recognises the research sets."""

    text: str = "text"
    """Column with the text."""

    text_pair: str | None = None
    """Column with the second text of a pair task."""

    label: str = "label"
    """Column with the class label."""

    domain: str = "domain"
    """Column with the domain name; `file_name`: where tables have no such column, the names of their files."""

    split: str | None = None
    """Column that says train, dev or test; without it the package splits."""

    id: str | None = None
    """Column with a unique id per row; without it ids are file name and row number."""

    unlabelled: str | None = None
    """Source of more text, without labels, for distillation alone; read as `source` is (text, text_pair, domain)."""

    domains: Annotated[list[str], Field(min_length=1)] | None = None
    """Use these domains only, in this order; default: all, sorted."""

    splits_file: Path | None = None
    """JSON file of ids (as a run writes it) that fixes train, dev and test; no other field of the split counts then."""

    dev: Fraction = 0.1
    """Share of each domain and label for the dev set, where none is given."""

    test: Fraction = 0.1
    """Share of each domain and label for the test set, where none is given."""

    dev_rows: Literal["random", "last"] = "random"
    """Which rows become dev: a stratified random draw, or the last ones of each domain (the paper's MNLI protocol)."""

    sizes: Literal["paper"] | dict[str, tuple[PositiveInt, PositiveInt, PositiveInt]] | None = None
    """Exact train, dev and test sizes per domain; `paper`: those of the HRKD and Meta-KD papers for Amazon Reviews."""

    split_seed: Seed = 0
    """Seed of the split and of few-shot draws; apart from `run.seed`, so that seeds of training share one split."""

    fraction: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Few-shot: share of the train set to keep, per domain and label; smaller shares are subsets of larger ones."""

    shots: PositiveInt | None = None
    """Few-shot: examples per domain and label to keep; fewer shots are subsets of more. Excludes `fraction`."""

    max_length: Annotated[int, Field(ge=8)] = 128
    """Longest input, in tokens; `keep` says what is left of longer texts."""

    keep: Keep = "head"
    """What a model reads of a text that is longer than `max_length`: its `head` (the papers), its `tail`, half of each
    (`head_tail`), or all of it in several `windows`, each a training example of its own, of which the mean of the
    probabilities decides."""

    ignore: list[str] = []
    """Findings of `hrkd check` to leave out, by their codes, such as D104; `hrkd explain` lists all."""

    synthetic: SyntheticConfig = SyntheticConfig()
    """Options of the generated corpus."""

    def _contradictions(self) -> Iterator[str]:
        if self.format == "synthetic" and self.source is not None:
            yield "source: a synthetic corpus is generated; leave it out, or set format: auto (--data.format auto)"
        if self.format == "synthetic" and self.domains is not None:
            yield "domains: a synthetic corpus has as many domains as synthetic.domains says; leave domains out"
        if self.format != "synthetic" and self.source is None:
            yield "source: missing; name a file, a folder or a hub data set (or set format: synthetic)"
        if self.shots is not None and self.fraction != 1.0:
            yield "shots and fraction exclude each other; keep one"
        if self.domains is not None and len(set(self.domains)) < len(self.domains):
            yield "domains: a name stands there twice"
        if self.splits_file is not None and self.sizes is not None:
            yield "splits_file: says which rows are train, dev and test; leave sizes out"
        yield from (f"ignore: {problem}" for problem in ignore_problems(self.ignore))
        if self.splits_file is None and self.sizes is None and self.dev + self.test >= 1:
            yield f"dev + test is {self.dev + self.test:g}; nothing would be left to train on"


class TrainingConfig(Section):
    """One training: AdamW, linear warm-up then linear decay, gradient clipping."""

    epochs: PositiveInt = 3
    """Passes over the largest domain; more where `min_steps` asks for them, fewer where `max_steps` does."""

    min_steps: Annotated[int, Field(ge=0)] = 0
    """Steps that a training has at least: few rows get as many epochs as that takes, whatever `epochs` says."""

    max_steps: PositiveInt | None = None
    """Steps that a training has at most, in whole epochs, of which there is one in any case, and as many as `min_steps`
    takes; default: no such limit."""

    patience: PositiveInt | None = None
    """End after so many epochs without a better dev score, if `min_steps` are done; default: only when all epochs are
    over."""

    average_weights: bool = False
    """Also average the weights of all steps of the second half; they are kept where dev has them as no worse."""

    learning_rate: PositiveFloat | Literal["auto"] = PRETRAINED_LEARNING_RATE
    """Peak learning rate; `auto`: 5e-5 for layers as they were pre-trained or fine-tuned, 6e-4 for a student whose
    layers are narrowed or random."""

    batch_size: PositiveInt = 8
    """Examples of EVERY domain in a batch, in all processes together; a batch has this times the number of domains."""

    weight_decay: NonNegative = 0.01
    """AdamW weight decay, on matrices only (not on biases and normalisation weights)."""

    warmup: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Share of all steps in which the learning rate rises to its peak."""

    max_grad_norm: PositiveFloat = 1.0
    """Gradients are clipped to this Euclidean norm."""

    gradient_accumulation: PositiveInt = 1
    """Batches of a step, looked at one after the other to save memory; a step is one update, of this times
    `batch_size` examples of every domain."""

    group_by_length: bool = True
    """Put texts of similar length into the same step, so that little is padding; the order stays random otherwise."""

    def _contradictions(self) -> Iterator[str]:
        if self.max_steps is not None and self.max_steps < self.min_steps:
            yield f"max_steps: {self.max_steps} is less than min_steps ({self.min_steps}); change one of them"

    @property
    def rate(self) -> float:
        """Peak learning rate; `auto` is that of layers as they were pre-trained."""
        return PRETRAINED_LEARNING_RATE if self.learning_rate == "auto" else self.learning_rate

    @property
    def step_size(self) -> int:
        """Examples of every domain in a step."""
        return self.batch_size * self.gradient_accumulation


class StudentTrainingConfig(TrainingConfig):
    """One training of the student (and its baseline): as the teacher's, but longer."""

    epochs: PositiveInt = 10
    """Passes over the largest domain."""


class TeacherConfig(Section):
    """The large model. Exactly one of `model`, `fine_tuned`, `scratch`."""

    # How teachers are combined is a matter of their pupils.
    leaves_weights_alone: ClassVar[frozenset[str]] = frozenset({"allow_weak", "combine"})

    model: str | None = None
    """Pre-trained encoder (folder or hub name) that hrkd fine-tunes on all domains, with new heads."""

    fine_tuned: str | dict[str, str] | None = None
    """A classifier you already have: one sequence-classification folder, or one per domain (domain: folder)."""

    scratch: dict[str, PositiveInt] | None = None
    """Train a new BERT from nothing: layers, width, heads, feed_forward, vocabulary. For demonstrations."""

    labels: list[str] | None = None
    """For `fine_tuned`: the data's labels in the order of the classifier's outputs, if it calls them otherwise."""

    heads: Literal["per_domain", "shared"] = "per_domain"
    """One classification head per domain (the paper) or one for all; a `fine_tuned` teacher keeps its own."""

    encoders: Literal["shared", "per_domain"] = "shared"
    """One encoder for all domains, or single-domain teachers: a classifier per domain, each fine-tuned on its rows."""

    combine: Literal["route", "average"] = "route"
    """Who answers where each domain has a classifier: that of the text's domain, or all by their mean probabilities."""

    meta_kd: bool = False
    """Train a meta-teacher (Meta-KD): examples weighed by how typical they are of their class in all domains, and
    features from which a classifier is to tell a domain drawn at random."""

    domain_loss_weight: NonNegative = 0.5
    """For `meta_kd`: weight of that classifier's loss."""

    allow_weak: bool = False
    """Go on although the teacher is no better than chance on the dev set."""

    training: TrainingConfig = TrainingConfig()
    """How the teacher is fine-tuned; without effect on one that is `fine_tuned` already."""

    @property
    def tokenizer(self) -> str | None:
        """Folder or hub name of a tokenizer; of classifiers by domain that of the first. None: made from the texts."""
        if isinstance(self.fine_tuned, dict):
            return next(iter(self.fine_tuned.values()), None)
        return self.model or self.fine_tuned

    def _contradictions(self) -> Iterator[str]:
        given = [name for name in ("model", "fine_tuned", "scratch") if getattr(self, name) is not None]
        if len(given) != 1:
            found = "none of them" if not given else " and ".join(given)
            yield f"give exactly one of model, fine_tuned, scratch (found {found})"
        if self.domain_loss_weight != type(self).model_fields["domain_loss_weight"].default and not self.meta_kd:
            yield "domain_loss_weight: belongs to a meta-teacher; leave it out or set meta_kd: true"
        if self.meta_kd and self.fine_tuned is not None:
            yield "meta_kd: says how a teacher is trained, and this one is fine_tuned already; leave one of them out"
        if self.labels is not None and self.fine_tuned is None:
            yield "labels: names the outputs of a fine_tuned classifier, and there is none; leave labels out"
        if self.encoders == "per_domain" and self.fine_tuned is not None:
            yield "encoders: per_domain is about training, and a fine_tuned teacher is trained; leave encoders out"
        if self.encoders == "per_domain" and self.heads == "shared":
            yield "heads: shared contradicts encoders: per_domain, where each domain has its own; leave one out"
        if self.encoders == "per_domain" and self.meta_kd:
            yield "meta_kd: relates domains, and encoders: per_domain has a teacher for each; leave one of them out"
        several = self.encoders == "per_domain" or isinstance(self.fine_tuned, str) or len(self.fine_tuned or ()) > 1
        if self.combine == "average" and not several:
            yield f"combine: average: {ONE_CLASSIFIER}"
        if self.scratch is not None:
            known = {"layers", "width", "heads", "feed_forward", "vocabulary"}
            if set(self.scratch) != known:
                found = ", ".join(sorted(self.scratch)) or "none"
                yield f"scratch: expected exactly {', '.join(sorted(known))}; found {found}"
            yield from _uneven_heads("scratch: ", self.scratch.get("width"), self.scratch.get("heads"))


SIZE_BY_HAND = ("layers", "width", "heads", "feed_forward")
SIZE_BY_TIME = ("times_faster", "milliseconds")
SIZE_GOALS = ("times_smaller", *SIZE_BY_TIME)
"""Fields of a student of which each chooses its size."""
FORMER_PAIR_BUCKETS = 65_536
"""The default of once, which recipes of runs hold."""


class StudentConfig(Section):
    """The small model: its size, its start and its training."""

    leaves_weights_alone: ClassVar[frozenset[str]] = frozenset({"baseline", *SIZE_BY_TIME})

    kind: Literal["encoder", "static"] = "encoder"
    """A smaller encoder, or a model without layers: the sum of a text's token vectors, which start from the teacher's
    embeddings, and of hashed pairs of neighbours, with the heads behind it; it learns from the teacher's predictions,
    at a learning rate of 0.003 where none is given."""

    pair_buckets: Annotated[int, Field(ge=0)] = 262_144
    """For `static`: vectors that pairs of neighbouring tokens share, by a hash; 0: single tokens alone."""

    layers: PositiveInt | None = None
    """Transformer layers."""

    width: PositiveInt | None = None
    """Hidden size; the number of heads must divide it. A static student has 16 by default."""

    heads: PositiveInt | None = None
    """Attention heads; default: as many as the teacher, or with times_faster and milliseconds heads of 64."""

    feed_forward: PositiveInt | None = None
    """Width of the feed-forward layers; default: the teacher's, scaled by width."""

    times_smaller: Annotated[float, Field(gt=1)] | None = None
    """Choose the size so that the student has about this many times fewer parameters than the teacher (or than one,
    if each domain has its own)."""

    times_faster: Annotated[float, Field(gt=1)] | None = None
    """Choose the largest size with which the student is so many times as quick as the teacher: encoders timed in
    PyTorch on one core of this machine, with batches of texts of max_length tokens. The size is kept in the cache, and
    beside this field in the recipe of the run."""

    milliseconds: Annotated[float, Field(gt=0)] | None = None
    """Choose the largest size with which a text of max_length tokens, alone, takes no longer; timed likewise."""

    checkpoint: str | None = None
    """Folder or hub name of a small pre-trained encoder (such as the general TinyBERT); it fixes the size."""

    start: Literal["auto", "teacher_layers", "principal_components", "checkpoint", "random"] = "auto"
    """Initial weights; `auto`: the checkpoint if given, teacher layers if as wide, principal components if narrower."""

    teacher_layers: list[PositiveInt] | None = None
    """Teacher layers (from 1) that the student starts from; default: those of the layer map."""

    layer_map: Literal["uniform"] | list[PositiveInt] = "uniform"
    """Teacher layer (from 1) of each student layer; `uniform`: l * teacher layers / student layers, rounded."""

    augment: Annotated[int, Field(ge=0)] = 0
    """Copies of every training text with other words in the place of 40 %, for distillation alone (TinyBERT): what the
    masked-language head of `teacher.model` finds likely, or neighbours in the teacher's embeddings if it has none."""

    own_windows: bool = False
    """Also distil on all of the training texts that are longer than `data.max_length`, in windows, as text without
    labels."""

    vocabulary: Literal["all"] | PositiveInt = "all"
    """How often a piece must stand in the texts of the training, labelled or not, to be kept in the finished student
    (1: every one that they need); other words are spelt by smaller pieces. `all`: the teacher's vocabulary."""

    baseline: bool = True
    """Also train the same student without distillation, so that the gain is visible."""

    training: StudentTrainingConfig = StudentTrainingConfig()
    """How the student (and its baseline) is trained."""

    @property
    def size(self) -> dict[str, Any]:
        """The fields that say how large the student is."""
        names = ("layers", "width", "heads", "feed_forward", "times_smaller")
        return {name: getattr(self, name) for name in names}

    @property
    def is_sized_by_time(self) -> bool:
        """Whether its size follows from what the student may cost, and has not been found yet."""
        return self.has_time_goal and not self._is_sized_by_hand

    @property
    def is_sized_by_earlier_times(self) -> bool:
        """Whether its size is the one that was found for what it may cost: in the recipe of a run both stand."""
        return self.has_time_goal and self._is_sized_by_hand

    @property
    def has_time_goal(self) -> bool:
        """Whether it says what the student may cost."""
        return any(getattr(self, name) is not None for name in SIZE_BY_TIME)

    @property
    def _is_sized_by_hand(self) -> bool:
        return all(getattr(self, name) is not None for name in SIZE_BY_HAND)

    @model_validator(mode="before")
    @classmethod
    def _static_learns_faster(cls, given: Any) -> Any:
        """Where no learning rate is given, a static student has its own."""
        if not isinstance(given, dict) or given.get("kind") != "static":
            return given
        training = given.get("training", {})
        if isinstance(training, BaseModel):
            training = training.model_dump(exclude_unset=True)
        if not isinstance(training, dict):
            return given
        return given | {"training": {"learning_rate": STATIC_LEARNING_RATE} | training}

    def _contradictions(self) -> Iterator[str]:
        if self.kind == "static":
            yield from self._static_contradictions()
            return
        if self.pair_buckets not in (type(self).model_fields["pair_buckets"].default, FORMER_PAIR_BUCKETS):
            yield "pair_buckets: belongs to a static student; leave it out or set kind: static"
        yield from self._size_contradictions()
        yield from self._start_contradictions()

    def _static_contradictions(self) -> Iterator[str]:
        given = ("layers", "heads", "feed_forward", *SIZE_GOALS, "checkpoint", "teacher_layers")
        for name in given:
            if getattr(self, name) is not None:
                yield f"{name}: a static student has no layers; leave it out"
        for name in ("start", "layer_map"):
            if getattr(self, name) != type(self).model_fields[name].default:
                yield f"{name}: a static student starts from the teacher's embeddings and has no layers; leave it out"
        if self.vocabulary != "all" and self.pair_buckets:
            yield "vocabulary: pairs are hashed by the ids of all pieces; set pair_buckets: 0, or leave vocabulary out"

    def _size_contradictions(self) -> Iterator[str]:
        by_hand = [name for name in SIZE_BY_HAND if getattr(self, name) is not None]
        goals = [name for name in SIZE_GOALS if getattr(self, name) is not None]
        free = {"heads"} if self.is_sized_by_time else set(SIZE_BY_HAND) if self.has_time_goal else set()
        if goals and (others := [*goals[1:], *(name for name in by_hand if name not in free)]):
            yield f"{goals[0]} chooses the size; leave out {', '.join(others)}"
        if self.checkpoint is not None and (others := [*by_hand, *goals]):
            yield f"checkpoint fixes the size; leave out {', '.join(others)}"
        if not goals and self.checkpoint is None and self.layers is None and self.start != "checkpoint":
            yield f"no size: give layers (and width ...), {', '.join(SIZE_GOALS)}, or checkpoint"
        yield from _uneven_heads("", self.width, self.heads)
        for name in ("teacher_layers", "layer_map"):
            chosen = getattr(self, name)
            if self.layers is not None and isinstance(chosen, list) and len(chosen) != self.layers:
                yield f"{name}: names {len(chosen)} teacher layers for {self.layers} student layers"

    def _start_contradictions(self) -> Iterator[str]:
        if self.start == "checkpoint" and self.checkpoint is None:
            yield "start: checkpoint needs the field checkpoint"
        if self.checkpoint is not None and self.start not in ("auto", "checkpoint"):
            yield f"start: {self.start} contradicts checkpoint; leave one of them out"
        if self.teacher_layers is not None and self.checkpoint is not None:
            yield "teacher_layers: the student starts from its checkpoint, not from the teacher; leave one of them out"
        elif self.teacher_layers is not None and self.start == "random":
            yield "teacher_layers: start: random takes nothing from the teacher; leave one of them out"


def _uneven_heads(place: str, width: int | None, heads: int | None) -> Iterator[str]:
    if width is not None and heads is not None and width % heads:
        yield f"{place}width {width} cannot be divided among {heads} heads"


class MethodConfig(Section):
    """HRKD itself: losses, prototypes, hierarchy, graph. See docs/method.md."""

    leaves_weights_alone: ClassVar[frozenset[str]] = frozenset({"preset"})  # but the fields that it fills in do not

    preset: Preset = "recommended"
    """What holds for fields that are left out, also of `data` and the `training` of teacher and student: what is
    recommended, as far as it was measured (docs/evidence.md), or the paper's own (`published`)."""

    graph: Graph = "published"
    """What turns prototypes into domain ratios: the paper's graph attention network; the package's own, which start at
    1/D and have to be learnt, of attention (relational) or of what sets the classes apart in each domain (contrast);
    numbers drawn anew in every step; or 1/D each (no graph)."""

    learning: Literal["fixed", "joint", "meta"] = "fixed"
    """How the graph is learnt: not at all, as in the paper's public code; with the objective; or by what a step of the
    student on the weighted losses does to the prediction loss of other texts."""

    ratio_learning_rate: PositiveFloat = 5e-3
    """Peak learning rate of graph and hierarchy, for joint and meta learning."""

    entropy_weight: NonNegative = 1.0
    """Weight of the ratios' entropy, which joint and meta learning maximise besides: with w, the ratios that a level's
    effects e ask for are softmax(e / w); meta learning measures effects in units of their root mean square."""

    meta_interval: PositiveInt = 10
    """Updates of the student from one gradient of meta learning to the next."""

    centre_prototypes: bool | None = None
    """Take what all domains have in common out of the prototypes first; default: for the package's graphs only."""

    prototype_momentum: Annotated[float, Field(ge=0, lt=1)] | None = None
    """Weight of earlier steps in the prototypes that ratios are made of, a moving average; default: 0.95 for the
    package's graphs, 0 (this step alone) for others."""

    domain_weights: Annotated[dict[str, PositiveFloat], Field(min_length=1)] | None = None
    """How much domains count at every level before the graph speaks, by name, as `{books: 3}`; others have 1."""

    hierarchy: Literal["compare_aggregate", "mean", "none"] = "compare_aggregate"
    """What a level sees of the levels below: the paper's attention over them, their mean, or nothing."""

    reference_attention: bool = True
    """Compare levels with a reference attended over the domains (paper), or with the domain's own prototype."""

    attention: Literal["auto", "scores", "probabilities", "none"] = "auto"
    """Attention loss on raw scores (paper), on probabilities, or none; `auto`: scores where the family has them."""

    level_loss: Literal["states", "relations"] = "states"
    """What levels compare: hidden states and attention (TinyBERT, the paper), or how alike the queries of a layer's
    tokens are, and its keys (MiniLMv2), which asks for no equal widths and heads."""

    levels: Literal["all", "last"] = "all"
    """Levels that have a loss: all of the layer map, or the last one alone."""

    reductions: Literal["masked", "public_code"] = "masked"
    """Averages over valid tokens, or over padding too and with soft cross-entropy over classes, as the public code."""

    hidden_weight: NonNegative = 1.0
    """Weight of the hidden-state and attention losses."""

    prediction_weight: NonNegative = 1.0
    """Weight of the soft cross-entropy with the teacher's predictions."""

    label_weight: NonNegative = 0.0
    """Weight of the cross-entropy with the labels within the prediction loss, beside the teacher's predictions; texts
    without a label go without it."""

    stages: Literal["one", "two"] = "one"
    """Distil levels and predictions together, or (TinyBERT) first the levels alone, then the predictions alone."""

    level_epochs: PositiveInt | None = None
    """With two stages, how many of `student.training.epochs` the first has; default: half of them, rounded up."""

    related_weight: NonNegative = 0.0
    """Weight, within the prediction loss, of what each head of the student learns on the texts of all domains from the
    teacher's heads of domains in which the same sets the classes apart, in that measure; for a teacher with a head per
    domain."""

    domain_relations: Literal["contrast", "permuted"] = "contrast"
    """For `related_weight` and the contrast graph, how domains are related: as the teacher's states of labelled texts
    say, or, as a control, by the same numbers between other domains."""

    temperature: PositiveFloat = 1.0
    """Softmax temperature of the prediction loss, for teacher and student."""

    student_dropout: bool = True
    """Dropout in the student while it learns from the teacher, at the rates of the teacher's configuration; from labels
    alone the student always learns with it."""

    relative: bool = False
    """Divide the losses of each level by the variance of the teacher's states and scores there, so that all levels and
    the prediction loss are of one size."""

    expertise: bool = False
    """Weigh every example by how far the teacher is to be trusted on it (Meta-KD); for a text without a label, as if
    the teacher were right. With two stages in the first one only."""

    transfer_weight: NonNegative = 0.0
    """Weight of the loss on a meta-teacher's features that carry over between domains (Meta-KD); needs
    `teacher.meta_kd`."""

    ratio_gradient: bool = False
    """Let the objective's gradient reach the student through the ratios too, not only through the losses."""

    graph_heads: PositiveInt = 8
    """Attention heads of the graph's first layer."""

    graph_width: PositiveInt | Literal["hidden"] | None = None
    """Width of each of these heads; default: 16 for the package's graphs, for the published one the teacher's hidden
    size (paper), which `hidden` gives the others too."""

    graph_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Dropout on the graph's inputs and attention while training."""

    @model_validator(mode="before")
    @classmethod
    def _as_preset(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        preset = given.get("preset", cls.model_fields["preset"].default)
        return with_preset(preset, {"method": given})["method"]

    @property
    def form(self) -> GraphForm:
        """What is known of the `graph`."""
        return GRAPH_FORMS[self.graph]

    @property
    def momentum(self) -> float:
        """The `prototype_momentum`, or that of the graph."""
        return self.form.momentum if self.prototype_momentum is None else self.prototype_momentum

    @property
    def counts_padding(self) -> bool:
        """Whether averages are over padding too, as in the public code."""
        return self.reductions == "public_code"

    @property
    def relates_domains(self) -> bool:
        """Whether a graph of domains weighs the levels' losses."""
        return self.hidden_weight > 0 and self.form.relates

    @property
    def reads_relations(self) -> bool:
        """Whether it is asked how domains are related."""
        return self.related_weight > 0 or (self.relates_domains and self.form.reads_relations)

    @property
    def weighs_domains(self) -> bool:
        """Whether domains can count differently."""
        return self.hidden_weight > 0 and self.form.weighs

    def levels_alone(self) -> MethodConfig:
        """The first of two stages: hidden states and attention, without predictions."""
        off: dict[str, Any] = {"prediction_weight": 0.0, "label_weight": 0.0, "related_weight": 0.0}
        if not self.form.reads_relations:
            off["domain_relations"] = "contrast"
        return self._one_stage(**off)

    def predictions_alone(self) -> MethodConfig:
        """The second of two stages, which has no levels to be weighed."""
        off: dict[str, Any] = {"hidden_weight": 0.0, "transfer_weight": 0.0, "expertise": False, "domain_weights": None}
        if not self.related_weight:
            off["domain_relations"] = "contrast"
        return self._one_stage(graph="uniform", hierarchy="none", learning="fixed", **off)

    def _one_stage(self, **changes: Any) -> MethodConfig:
        return type(self)(**self.model_dump() | {"stages": "one", "level_epochs": None} | changes)

    def _contradictions(self) -> Iterator[str]:
        return method_contradictions(self)


class CacheConfig(Section):
    """Rows, token ids and what the teacher says of all texts, kept on disk for all epochs, runs and seeds."""

    leaves_weights_alone: ClassVar[frozenset[str]] = frozenset({"folder"})

    folder: Path | None = None
    """Folder of all caches; default: the environment variable HRKD_CACHE, or ~/.cache/hrkd."""

    gigabytes: NonNegative = 20.0
    """Largest size of one teacher cache; rows beyond it are computed in every epoch. 0: no teacher cache."""

    precision: Literal["fp16", "bf16", "fp32"] = "fp16"
    """How exactly the teacher's numbers are kept: 11 bits of mantissa up to 65504, 8 bits, or all."""

    compute: Literal["fp32", "bf16"] = "fp32"
    """How the teacher computes them, kept or not: in 32-bit, or by products in bf16, quicker where there are such and
    within 1 %."""


class EvaluationConfig(Section):
    """How models are measured."""

    batch_size: PositiveInt = 64
    """Examples in a forward pass of evaluation and prediction."""

    bootstrap: Annotated[int, Field(ge=0)] = 1000
    """Draws for the intervals that are drawn (of macro-F1); 0: no intervals."""

    confidence: Annotated[float, Field(gt=0.5, lt=1)] = 0.95
    """Level of the intervals."""

    linear: bool = True
    """Measure a linear model too (TF-IDF and logistic regression on the whole texts of the same training rows), so that
    one sees what has to be surpassed."""


class RunConfig(Section):
    """Where a run goes and how it is executed."""

    output: Path = Path("runs/hrkd")
    """Folder for everything the run writes."""

    seed: Seed = 0
    """Seed of weights, order of examples and dropout."""

    precision: Literal["no", "bf16", "fp16"] = "no"
    """Mixed precision of training; `no`: 32-bit; `bf16` where products in it are quick; `fp16` on a GPU only."""

    fast: bool = False
    """On a GPU: bf16 and `torch.compile` at once. Not yet measured on one."""

    device: Literal["auto", "cpu"] = "auto"
    """`auto`: the accelerator that `accelerate` finds; `cpu`: the processor even if there is one."""

    kernels: Literal["auto", "torch"] = "auto"
    """What computes linear maps (in 32-bit), dropout and attention on a processor; `auto`: the package's kernels or
    torch's own, for each call whichever is quicker at its size; `torch`: torch's own everywhere, with other dropout."""

    trackers: list[Tracker] = []
    """Trackers of `accelerate` to log to, such as tensorboard or wandb; each needs its own package."""

    log_every: PositiveInt = 1
    """Steps between two logged rows of losses and ratios."""

    checkpoint_minutes: PositiveFloat | None = 10.0
    """Minutes between two checkpoints within an epoch; null: after epochs alone, and where one is interrupted."""

    checkpoint_steps: PositiveInt | None = None
    """Steps between two checkpoints within an epoch, besides those by minutes; null: by minutes alone."""

    overwrite: bool = False
    """Start anew in an output folder that already holds a run of another recipe."""

    other_versions: bool = False
    """Go on with a stage that was begun with other versions of packages; its numbers are then those of neither."""

    def _contradictions(self) -> Iterator[str]:
        if self.fast and (self.precision == "fp16" or self.device == "cpu"):
            field = "precision: fp16" if self.precision == "fp16" else "device: cpu"
            yield f"fast is bf16 and torch.compile on a GPU; it excludes {field}"
        elif self.precision == "fp16" and self.device == "cpu":
            yield "precision: fp16 is for a GPU; it excludes device: cpu (bf16 does not)"

    @property
    def mixed_precision(self) -> str:
        """What `precision` and `fast` say together."""
        return "bf16" if self.fast else self.precision


class Recipe(Section):
    """All of a run."""

    data: DataConfig
    """Where labelled text comes from, and how it is split."""

    teacher: TeacherConfig
    """The large model."""

    student: StudentConfig
    """The small model."""

    method: MethodConfig = MethodConfig()
    """HRKD itself."""

    cache: CacheConfig = CacheConfig()
    """What the teacher says, kept on disk."""

    evaluation: EvaluationConfig = EvaluationConfig()
    """How models are measured."""

    run: RunConfig = RunConfig()
    """Where a run goes and how it is executed."""

    @model_validator(mode="before")
    @classmethod
    def _as_preset(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        method, preset = given.get("method", {}), MethodConfig.model_fields["preset"].default
        if isinstance(method, MethodConfig):
            preset = method.preset
        elif isinstance(method, dict):
            preset = method.get("preset", preset)
        return {name: value for name, value in with_preset(preset, given).items() if name in given}

    @property
    def distillation(self) -> MethodConfig:
        """The method, as far as the student has what it is about: of a static one, predictions alone."""
        return self.method if self.student.kind == "encoder" else self.method.predictions_alone()

    def _contradictions(self) -> Iterator[str]:
        if self.student.kind == "static" and self.method.stages == "two":
            yield "method.stages: two: a static student has no levels, which are the first stage; leave stages out"
        for name in ("expertise", "transfer_weight", "domain_weights") if self.student.kind == "static" else ():
            if getattr(self.method, name):
                yield f"method.{name}: is about levels, and a static student has none; leave it out"
        if self.student.own_windows and self.data.keep == "windows":
            yield "student.own_windows: data.keep: windows reads all windows of every text already; leave it out"
        if self.student.kind == "static" and self.method.prediction_weight == 0:
            yield "method.prediction_weight: 0 leaves a static student, which has no levels, nothing to learn"
        several = self.teacher.encoders == "per_domain" or isinstance(self.teacher.fine_tuned, dict)
        compares = {"expertise": self.method.expertise, "related_weight": self.method.related_weight}
        for name in (name for name, given in compares.items() if given and several):
            yield f"method.{name}: compares domains in the states of one teacher, and each has its own; leave it out"
        if self.method.related_weight and self.teacher.heads == "shared":
            yield "method.related_weight: heads learn from each other, and teacher.heads: shared is one; leave it out"
        if self.method.form.reads_relations and several and self.method.relates_domains:
            yield f"method.graph: {self.method.graph}: compares domains in the states of one teacher; choose another"
        if self.method.transfer_weight and not (self.teacher.meta_kd or self.teacher.fine_tuned):
            yield "method.transfer_weight: only a meta-teacher has features that carry over; set teacher.meta_kd"
        if self.teacher.combine == "average" and self.method.hidden_weight:
            yield f"teacher.combine: average: {NO_STATES}"
        first, total = self.method.level_epochs, self.student.training.epochs
        if first is not None and first >= total:
            yield (
                f"method.level_epochs: {first} of {total} epochs (student.training.epochs) leave none for the second "
                "stage; lower it, or train longer"
            )

    @property
    def student_epochs(self) -> tuple[int, int]:
        """Epochs of distillation on levels alone (0 with one stage), and of the stage that makes the student."""
        total = self.student.training.epochs
        if self.method.stages == "one":
            return 0, total
        first = self.method.level_epochs or -(-total // 2)
        return first, max(1, total - first)
