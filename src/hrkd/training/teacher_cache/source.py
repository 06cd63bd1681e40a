"""The teacher looked at once: its hidden states, queries, keys and logits of every training row, kept on disk.

Rows are computed in length-sorted batches and then read in every epoch, by every run whose teacher, token ids and layer
map are the same. What a query and a key cost does not grow with the square of a text's length, as their products do:
the products are never made (:func:`hrkd.method.losses.score_product_losses`).
"""

from __future__ import annotations

import hashlib
import logging
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock
from torch import Tensor, nn

from hrkd.data.batching import Batch, TokenizedDataset
from hrkd.errors import ArtifactError, TrainingError
from hrkd.models.digests import bytes_of
from hrkd.models.domain_teachers import AnyTeacher, AveragedTeacher
from hrkd.models.trace import AttentionKind, EncoderTrace
from hrkd.recipe.schema import CacheConfig
from hrkd.support.allocator import give_back
from hrkd.support.atomic_files import CannotWriteError, writing
from hrkd.support.caches import cache_folder
from hrkd.support.messages import bytes_of as size_of
from hrkd.support.progress import Progress
from hrkd.training.evaluate import DEFAULTS, predict_logits, token_batches, traces
from hrkd.training.live_teacher import Compute, LiveTeacher, TeacherSource
from hrkd.training.teacher_cache.layout import DTYPES, Buffers, RowLayout, _factors, with_norms
from hrkd.training.teacher_cache.store import CacheFiles, CacheIndex, Precision, others_with
from hrkd.training.together import Crew, crew_of_machine, everyone, filled, most
from hrkd.training.watch import phase

__all__ = ["CachedTeacher", "cache_of", "fingerprint", "not_cached", "teacher_logits", "teacher_source"]

logger = logging.getLogger("hrkd.training")

SHARE_OF_FREE_DISK = 0.95
ADVICE = (
    "make room, name a cache.folder on another disk, or set a lower cache.gigabytes (the rest is computed each epoch)"
)
BATCHES_BETWEEN_FLUSHES = 16


class CachedTeacher:
    """Gives what the teacher says of a batch from the cache, and from the teacher itself for rows that are not in it.

    Args:
        files: the cache, all of whose rows are written.
        layout: of a row's numbers.
        live: for rows that are not cached; None if all are. Where the cache holds the logits of all rows, its own
            are not looked at.
    """

    def __init__(self, files: CacheFiles, layout: RowLayout, live: TeacherSource | None) -> None:
        self.files, self.layout, self.live = files, layout, live
        self._dtype = DTYPES[files.index.precision]
        self._buffers = Buffers()

    def __call__(self, batch: Batch) -> EncoderTrace:
        """The teacher's trace of the mapped levels, in the precision of the cache; zeros at padding."""
        device = batch.labels.device
        rows, mask = batch.indices.cpu().numpy(), batch.mask.bool().cpu()
        cached = self.files.cached[rows]
        trace = self.layout.empty(len(mask), mask.shape[1], self._dtype, self._buffers)
        for i in np.flatnonzero(cached):
            numbers, small = self.files.read(rows[i])
            self.layout.unpack_few(torch.from_numpy(small), int(i), trace)
            self.layout.unpack(torch.from_numpy(numbers).view(self._dtype), int(i), mask[i], trace)
            self.files.let_go(rows[i])
        self.files.let_go()
        if not cached.all():
            self._compute(batch, np.flatnonzero(~cached), trace)
        return trace.map(lambda tensor: tensor.to(device))

    def read_ahead(self, batch: Batch) -> None:
        """Have the system bring the batch's rows from the disk while something else is computed."""
        for row in batch.indices.tolist():
            self.files.ahead(row)

    def _compute(self, batch: Batch, positions: np.ndarray, into: EncoderTrace) -> None:
        assert self.live is not None
        others = torch.from_numpy(positions)
        part = batch.rows(others.to(batch.labels.device))
        outputs = with_norms(self.live(part), part)
        padding = ~part.mask.bool()
        for mine, theirs in zip(into.hidden_states, outputs.hidden_states, strict=True):
            mine[others] = _narrowed(theirs.masked_fill(padding[..., None], 0), self.files.index.precision)
        for mine, theirs in zip(chain(*_factors(into)), chain(*_factors(outputs)), strict=True):
            mine[others] = _narrowed(theirs.masked_fill(padding[:, None, :, None], 0), self.files.index.precision)
        if self.files.index.all_rows:
            known = torch.from_numpy(self.files.small[batch.indices.cpu().numpy()[positions]])
        else:
            known = self.layout.pack_few(outputs).cpu()
        self.layout.unpack_few(known, others, into)


def teacher_source(
    live: LiveTeacher,
    data: TokenizedDataset,
    *,
    rules: CacheConfig,
    device: torch.device,
    progress: Progress | None = None,
) -> TeacherSource:
    """``live``, or the same from a cache that is built or completed here.

    The cache is that of the teacher's weights, the rows' token ids and domains, the layer map, and how exactly numbers
    are computed and kept; two processes that want it build it once, and those of one launch on one machine build it
    together, each its share of the rows. As many rows as fit into ``rules.gigabytes`` are
    cached, in a fixed random order and in steps of one per cent: which ones is a matter of the settings alone, as a row
    that is computed in every epoch differs in its last digits. Where that is not all and the map ends below the
    teacher's last layer, the logits of all rows are kept, and the teacher is run no further than the map.

    Raises:
        CannotWriteError: there is no room for the cache, or its folder cannot be written.
        ArtifactError: the cache is damaged.
        TrainingError: a number is too large for the precision.
    """
    probe = data.batch(_shortest_rows(data)).to(device)
    layout = RowLayout.of(live(probe))
    how = rules.compute, live.every_head
    mark = fingerprint(live.teacher, data, live.layer_map, live.attention, rules.precision, *how)[:20]
    percent, kept = _kept_rows(data.lengths, layout.numbers, rules)
    if not kept.any():
        logger.info("teacher cache: none, hardly a row fits into %g GB (cache.gigabytes)", rules.gigabytes)
        return not_cached(live, rules)
    crew, caches, progress = crew_of_machine(), cache_folder(rules.folder), progress or Progress(False)
    short = None if kept.all() else live.without_logits(probe)
    name = f"{mark}-{percent}"
    folder = caches / name
    offsets = np.concatenate([[0], np.cumsum(np.where(kept, data.lengths, 0))])
    is_new = not (folder / "index.json").is_file()
    answers = fingerprint(live.teacher, data, (), "none", "fp32", *how)[:20] if is_new or not layout.numbers else ""
    sizes = len(data), int(offsets[-1]), layout.numbers, layout.few
    of = str(getattr(live.teacher, "name_or_path", ""))
    index = CacheIndex(name, *sizes, rules.precision, all_rows=short is not None, of=of, answers=answers)
    with ExitStack() as held:

        def begin() -> None:
            held.enter_context(_locked(caches / f"{mark}.lock"))
            with writing(caches, advice=ADVICE):
                _check_room(folder, index)
                files = CacheFiles(folder, index, offsets)
                if not layout.numbers:
                    _take_answers(files, layout, data, caches, progress)

        crew.first_does(begin)
        with writing(caches, advice=ADVICE):
            files = CacheFiles(folder, index, offsets)
        todo = files.missing()
        part = "" if kept.all() else f", {len(data) - kept.sum():,} more are computed in every epoch"
        logger.info(
            "teacher cache: %s, %s for %s rows (%s to compute)%s",
            folder, size_of(index.bytes), f"{kept.sum():,}", f"{len(todo):,}", part,
        )  # fmt: skip
        crew.all_do(None)  # have all seen what is missing, before any of it is there

        def fill() -> None:
            with writing(caches, advice=ADVICE):
                _fill(files, layout, live.computing(rules.compute), data, todo, device, progress, crew)

        with phase("teacher cache"):
            crew.all_do(fill)
        crew.first_does(lambda: (folder / "complete").touch())
    return CachedTeacher(files, layout, None if kept.all() else (short or live).computing(rules.compute))


def not_cached(live: LiveTeacher, rules: CacheConfig) -> LiveTeacher:
    """``live`` as it is asked where nothing is kept: in bf16 if ``rules`` say so, else as the training around it."""
    return live.computing("bf16") if rules.compute == "bf16" else live


def teacher_logits(
    teacher: AnyTeacher,
    data: TokenizedDataset,
    *,
    rules: CacheConfig,
    device: torch.device,
    batch_size: int = DEFAULTS.batch_size,
    progress: Progress | None = None,
) -> np.ndarray:
    """:func:`hrkd.training.evaluate.predict_logits` of a teacher, (texts, C), looked at once and kept in the cache.

    They are computed in 32-bit whatever ``rules`` say: a teacher's accuracy does not depend on its cache.

    Where there is no room for them they are computed in the same way, and not kept.

    Raises:
        ArtifactError: the cache is damaged.
    """
    teacher = teacher.to(device)
    if rules.gigabytes == 0:
        return predict_logits(teacher, data, batch_size=batch_size, progress=progress)
    live = LiveTeacher(teacher, (), attention="none")
    exact = rules.model_copy(update={"compute": "fp32"})
    logits = np.zeros((len(data), len(teacher.labels)), dtype=np.float32)
    outputs: TeacherSource | None = None
    try:
        outputs = teacher_source(live, data, rules=exact, device=device, progress=progress)
    except CannotWriteError as error:
        logger.warning("%s (what the teacher says is computed without)", error)
    failed = most(int(outputs is None), device)  # of all or of none, as rows are shared out by batches
    if outputs is None or failed:
        for rows in everyone().share(token_batches(data.lengths, np.arange(len(data)), device)):
            logits[rows] = live(data.batch(rows).to(device)).logits.float().cpu().numpy()
        return data.of_texts(filled(logits, device))
    for batch, trace in traces(outputs, data, device, batch_size=batch_size):
        logits[batch.indices.numpy()] = trace.logits.float().cpu().numpy()
    return data.of_texts(filled(logits, device))


def _shortest_rows(data: TokenizedDataset) -> list[int]:
    """The shortest row of every domain that has one."""
    rows = (np.flatnonzero(data.domain_ids == domain) for domain in np.unique(data.domain_ids))
    return [int(of_one[np.argmin(data.lengths[of_one])]) for of_one in rows]


def fingerprint(
    teacher: nn.Module,
    data: TokenizedDataset,
    layer_map: Sequence[int],
    kind: AttentionKind,
    precision: Precision,
    compute: Compute,
    every_head: bool = False,
) -> str:
    """SHA-256 over everything that decides the content of a cache."""
    # Older caches were all computed in 32-bit, and no head was asked about others' rows.
    younger = (*([compute] if compute != "fp32" else ()), *(["every head"] if every_head else ()))
    total = hashlib.sha256(repr((tuple(layer_map), kind, precision, *younger)).encode())
    for name, tensor in sorted(teacher.state_dict().items()):
        total.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        total.update(bytes_of(tensor))
    if isinstance(teacher, AveragedTeacher):  # of the same weights as a routed one
        total.update(b"average")
    for encoder in getattr(teacher, "encoders", None) or [teacher.encoder]:
        total.update(encoder.config.to_json_string(use_diff=True).encode())
    for piece in data.content():
        total.update(piece)
    total.update(data.lengths.tobytes() + data.domain_ids.tobytes())
    return total.hexdigest()


def _kept_rows(lengths: np.ndarray, numbers: int, rules: CacheConfig) -> tuple[int, np.ndarray]:
    """Which rows are cached, shape (rows,): the most whole per cent that fit, in a fixed random order."""
    order = np.random.default_rng(0).permutation(len(lengths))
    counts = len(lengths) * np.arange(101) // 100
    sizes = np.concatenate([[0], np.cumsum(lengths[order])])[counts] * numbers * DTYPES[rules.precision].itemsize
    percent = int(np.flatnonzero(sizes <= rules.gigabytes * 1e9)[-1])
    return percent, _first_rows(len(lengths), percent)


def cache_of(drawn: CacheIndex, live: LiveTeacher, data: TokenizedDataset, rules: CacheConfig) -> CacheIndex:
    """The index of the cache of all ``data`` that :func:`teacher_source` looks for, from that of some of the rows."""
    percent, kept = _kept_rows(data.lengths, drawn.width, rules)
    how = live.layer_map, live.attention, rules.precision, rules.compute, live.every_head
    name = f"{fingerprint(live.teacher, data, *how)[:20]}-{percent}"
    tokens = int(data.lengths[kept].sum())
    return replace(drawn, fingerprint=name, rows=len(data), tokens=tokens, all_rows=not kept.all())


def _first_rows(rows: int, percent: int) -> np.ndarray:
    """The first per cent of the rows in that order, as a mask (rows,)."""
    kept = np.zeros(rows, dtype=bool)
    kept[np.random.default_rng(0).permutation(rows)[: rows * percent // 100]] = True
    return kept


def _take_answers(
    files: CacheFiles, layout: RowLayout, data: TokenizedDataset, caches: Path, progress: Progress
) -> None:
    """Fill a cache of logits alone from caches of the same teacher and rows that hold levels besides.

    Their rows are looked at for damage as ever; a damaged cache is left alone here, and named where it is used.
    """
    todo = files.missing()
    for index in others_with(caches, files.index) if len(todo) else ():
        kept = _first_rows(len(data), int(index.fingerprint.rpartition("-")[2]))
        offsets = np.concatenate([[0], np.cumsum(np.where(kept, data.lengths, 0))])
        logger.info("teacher cache: logits are taken from %s", caches / index.fingerprint)
        try:
            other = CacheFiles(caches / index.fingerprint, index, offsets)
            with progress.bar("teacher cache", total=len(todo), unit="texts") as bar:
                for row in todo[other.state[todo] != 0]:
                    small = other.read(row)[1]
                    few = np.concatenate([small[: layout.classes], small[len(small) - layout.few + layout.classes :]])
                    files.write(row, files.values[:0], few)
                    other.let_go(row)
                    bar.advance(1)
        except ArtifactError as error:
            logger.warning("%s", error)
        files.flush()
        todo = files.missing()


@contextmanager
def _locked(file: Path) -> Iterator[None]:
    """Alone in all caches of one content; another process that fills one is waited for."""
    with writing(file.parent, advice=ADVICE):
        file.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(file).acquire()
    with lock:
        yield


def _check_room(folder: Path, index: CacheIndex) -> None:
    """Whether a cache has room on the disk, as far as it is not there yet.

    Raises:
        CannotWriteError: it has none; says what there is, and what to do.
    """
    there = sum(file.stat().st_blocks * 512 for file in folder.glob("*"))
    free = shutil.disk_usage(folder.parent).free * SHARE_OF_FREE_DISK
    if index.bytes - there > free:
        raise CannotWriteError(
            f"{folder.parent}: {index.bytes / 1e9:.2g} GB are needed for what the teacher says of all texts, and "
            f"{free / 1e9:.2g} GB are free for it; {ADVICE}"
        )


def _fill(
    files: CacheFiles,
    layout: RowLayout,
    live: TeacherSource,
    data: TokenizedDataset,
    todo: np.ndarray,
    device: torch.device,
    progress: Progress,
    crew: Crew,
) -> None:
    """Write this process's share of the rows that are ``todo``."""
    bits = torch.int32 if files.index.precision == "fp32" else torch.int16
    waiting = np.zeros(len(data), dtype=bool)
    waiting[todo] = True
    # The batches are those of all rows, however many were done before: a row's last digits depend on its batch.
    batches = token_batches(data.lengths, files.wanted(), device)
    mine = list(crew.share(rows for rows in batches if waiting[rows].any()))
    total = int(sum(waiting[rows].sum() for rows in mine))
    with progress.bar("teacher cache", total=total, unit="texts") as bar:
        for count, rows in enumerate(mine, 1):
            batch = data.batch(rows).to(device)
            trace = with_norms(live(batch), batch)
            valid = batch.mask.bool()
            few = layout.pack_few(trace).cpu().numpy()
            for i, row in enumerate(rows):
                if not waiting[row]:
                    continue
                values = layout.pack(trace, i, valid[i]) if files.cached[row] else torch.empty(0)
                files.write(row, _narrowed(values, files.index.precision).view(bits).numpy(), few[i])
                files.let_go(row)
            files.let_go()
            if count % BATCHES_BETWEEN_FLUSHES == 0:
                files.flush()
                give_back()
            bar.advance(int(waiting[rows].sum()))
    files.flush()


def _narrowed(values: Tensor, precision: Precision) -> Tensor:
    small = values.to(DTYPES[precision]).cpu()
    if len(small) and not small.isfinite().all():
        raise TrainingError(
            f"teacher cache: a number of the teacher ({values.abs().max():.3g}) is too large for {precision}; set "
            "cache.precision to bf16 or fp32"
        )
    return small
