import copy
import errno
import json
import logging
import multiprocessing
import shutil
import sys
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
import torch
from filelock import FileLock

from hrkd.errors import ArtifactError, TrainingError
from hrkd.method.losses import score_norms
from hrkd.models.domain_teachers import combined
from hrkd.recipe.schema import CacheConfig
from hrkd.support.atomic_files import CannotWriteError, put_manifest
from hrkd.support.caches import cached_folders, clear_cache
from hrkd.training import evaluate
from hrkd.training.evaluate import predict_logits
from hrkd.training.live_teacher import LiveTeacher
from hrkd.training.teacher_cache import source as cache_source
from hrkd.training.teacher_cache import store
from hrkd.training.teacher_cache.source import CachedTeacher, fingerprint, teacher_logits, teacher_source
from hrkd.training.teacher_cache.store import CacheFiles, CacheIndex
from tiny import batches_of, distil

CPU = torch.device("cpu")


class Counted(LiveTeacher):
    """Counts the rows that the teacher itself is asked for, by this reader or another made from it."""

    def __init__(self, *args, **how):
        super().__init__(*args, **how)
        self.batches = []

    @property
    def rows(self):
        return sum(self.batches)

    def __call__(self, batch):
        self.batches.append(len(batch.labels))
        return super().__call__(batch)


def reader(tiny, layer_map=(0, 2), **model):
    return Counted(tiny.model(seed=1, **model), layer_map, attention="queries_keys")


def cached(live, data, folder, **rules):
    return teacher_source(live, data, rules=CacheConfig(folder=folder, **rules), device=CPU)


def probed(tiny):
    """Rows that the teacher is asked for to learn the shapes, one a domain."""
    return len(tiny.splits.domains)


def batches(tiny):
    return batches_of(tiny.train)


def close(found, expected, mask, **tolerance):
    torch.testing.assert_close(found.logits, expected.logits)
    for one, other in zip(found.hidden_states, expected.hidden_states, strict=True):
        torch.testing.assert_close(one[mask].float(), other[mask], **tolerance)
        assert not one[~mask].any()
    for one, other in zip(chain(*found.attention), chain(*expected.attention), strict=True):
        tokens = mask[:, None, :, None].expand_as(one)
        torch.testing.assert_close(one[tokens].float(), other[tokens], **tolerance)
        assert not one[~tokens].any()
    for norms, factors in zip(found.score_norms, expected.attention, strict=True):
        torch.testing.assert_close(norms, score_norms(factors, mask))


@pytest.mark.parametrize(
    ("precision", "tolerance"),
    [
        ("fp32", {"rtol": 1e-5, "atol": 1e-5}),
        ("fp16", {"rtol": 1e-3, "atol": 1e-3}),
        ("bf16", {"rtol": 1e-2, "atol": 1e-2}),
    ],
)
def test_the_cache_says_what_the_teacher_says(tiny, tmp_path, precision, tolerance):
    live = reader(tiny)
    source = cached(live, tiny.train, tmp_path, precision=precision)
    assert isinstance(source, CachedTeacher)
    asked = live.rows
    for batch in batches(tiny):
        close(source(batch), LiveTeacher.__call__(live, batch), batch.inputs["attention_mask"].bool(), **tolerance)
    assert live.rows == asked


def test_a_second_run_computes_nothing(tiny, tmp_path):
    cached(reader(tiny), tiny.train, tmp_path)
    again = reader(tiny)
    source = cached(again, tiny.train, tmp_path)
    source(next(batches(tiny)))
    assert again.rows == probed(tiny)
    (folder, index), *others = cached_folders(tmp_path)
    assert (index["rows"], index["complete"], others) == (len(tiny.train), True, [])
    assert index["bytes"] > 0
    assert folder.name.endswith("-100")


def test_an_interrupted_build_goes_on(tiny, tmp_path, monkeypatch):
    monkeypatch.setitem(evaluate.TOKENS_IN_A_BATCH, "cpu", 200)
    live, rows = reader(tiny), []

    class Killed(Counted):
        def __call__(self, batch):
            if len(rows) > 4:
                raise KeyboardInterrupt
            rows.append(len(batch.labels))
            return super().__call__(batch)

    with pytest.raises(KeyboardInterrupt):
        cached(Killed(live.teacher, live.layer_map, attention="queries_keys"), tiny.train, tmp_path)
    source = cached(live, tiny.train, tmp_path)
    assert live.rows == len(tiny.train) + probed(tiny) - sum(rows[1:])
    for batch in batches(tiny):
        mask = batch.inputs["attention_mask"].bool()
        close(source(batch), LiveTeacher.__call__(live, batch), mask, rtol=1e-3, atol=1e-3)


def test_damage_is_named(tiny, tmp_path):
    cached(reader(tiny), tiny.train, tmp_path)
    (folder, _) = cached_folders(tmp_path)[0]
    values = np.memmap(folder / "values.bin", dtype=np.uint8, mode="r+")
    values[len(values) // 2] ^= 1
    values.flush()
    source = cached(reader(tiny), tiny.train, tmp_path)
    with pytest.raises(ArtifactError, match=r"row \d+ of this teacher cache is damaged; clear it \(hrkd cache --clear"):
        list(map(source, batches(tiny)))
    (folder / "values.bin").write_bytes(b"short")
    with pytest.raises(ArtifactError, match=r"values\.bin: 5 bytes in the place of"):
        cached(reader(tiny), tiny.train, tmp_path)


def test_a_foreign_index_is_named(tiny, tmp_path):
    cached(reader(tiny), tiny.train, tmp_path)
    index = cached_folders(tmp_path)[0][0] / "index.json"
    index.write_text(index.read_text().replace('"width"', '"breadth"'))
    put_manifest(index.parent, ["index.json"])
    with pytest.raises(ArtifactError, match="not the teacher cache that is looked for"):
        cached(reader(tiny), tiny.train, tmp_path)
    index.write_text("{")
    put_manifest(index.parent, ["index.json"])
    with pytest.raises(
        ArtifactError, match=r"index\.json: .* cannot be read .*; remove this folder and it is made anew"
    ):
        cached(reader(tiny), tiny.train, tmp_path)


@pytest.mark.parametrize("change", [{}, {"of": "another/name"}])
def test_a_cache_is_found_by_another_name_and_by_none(tiny, tmp_path, change):
    first = reader(tiny)
    first.teacher.config._name_or_path = first.teacher.name_or_path = "runs/mine/teacher"
    cached(first, tiny.train, tmp_path)
    ((folder, facts),) = cached_folders(tmp_path)
    assert facts["of"] == "runs/mine/teacher"
    index = json.loads((folder / "index.json").read_text())
    del index["of"]  # as older versions wrote it
    (folder / "index.json").write_text(json.dumps(index | change))
    put_manifest(folder, ["index.json"])
    again = reader(tiny)
    cached(again, tiny.train, tmp_path)
    assert again.rows == probed(tiny)
    assert cached_folders(tmp_path)[0][1]["of"] == change.get("of")


def test_another_teacher_text_level_or_precision_is_another_cache(tiny):
    live = reader(tiny)
    same = (live.teacher, tiny.train, (0, 2), "queries_keys", "fp16", "fp32")
    other_teacher = copy.deepcopy(live.teacher)
    with torch.no_grad():
        next(other_teacher.parameters())[0, 0] += 1e-3
    changes = [
        (other_teacher, *same[1:]),
        (same[0], tiny.train.select(np.arange(len(tiny.train))[::-1]), *same[2:]),
        (same[0], tiny.dev, *same[2:]),
        (*same[:2], (0, 1), *same[3:]),
        (*same[:3], "none", *same[4:]),
        (*same[:4], "fp32", same[5]),
        (*same[:5], "bf16"),
    ]
    marks = {fingerprint(*arguments) for arguments in (same, same, *changes)}
    assert len(marks) == 1 + len(changes)


def test_rows_beyond_the_limit_are_asked_of_the_teacher(tiny, tmp_path):
    live = reader(tiny)
    numbers = 2 * 16 + 2 * 16
    size = int(tiny.train.lengths.sum()) * numbers * 2
    source = cached(live, tiny.train, tmp_path, gigabytes=0.6 * size / 1e9)
    share = source.files.cached.mean()
    assert 0.5 < share <= 0.61
    assert cached_folders(tmp_path)[0][1]["bytes"] < 0.7 * size + 3 * 4096
    asked = live.rows
    for batch in batches(tiny):
        mask = batch.inputs["attention_mask"].bool()
        close(source(batch), LiveTeacher.__call__(live, batch), mask, rtol=1e-3, atol=1e-3)
    assert live.rows > asked
    assert cached(live, tiny.train, tmp_path / "none", gigabytes=1e-9) is live


def test_below_the_last_layer_the_teacher_is_cut_off_and_its_logits_are_kept(tiny, tmp_path):
    live = reader(tiny, (0, 1), layers=3)
    size = int(tiny.train.lengths.sum()) * (2 * 16 + 2 * 16) * 2
    source = cached(live, tiny.train, tmp_path, gigabytes=0.6 * size / 1e9)
    assert 0 < source.files.cached.mean() < 1
    assert len(source.live.teacher.encoder.encoder.layer) == 1
    assert len(live.teacher.encoder.encoder.layer) == 3, "the teacher itself stays whole"
    for batch in batches(tiny):
        mask = batch.inputs["attention_mask"].bool()
        close(source(batch), LiveTeacher.__call__(live, batch), mask, rtol=1e-3, atol=1e-3)
    again = Counted(live.teacher, live.layer_map, attention="queries_keys")
    cached(again, tiny.train, tmp_path, gigabytes=0.6 * size / 1e9)
    assert again.rows == 3 * probed(tiny), "to learn the shapes, and to set the shortened teacher beside the whole"


def test_a_number_too_large_for_the_precision_is_told(tiny, tmp_path):
    live = reader(tiny, (0, 1))
    with torch.no_grad():
        live.teacher.encoder.encoder.layer[0].attention.self.key.bias.fill_(1e6)
    with pytest.raises(TrainingError, match=r"too large for fp16; set cache\.precision to bf16 or fp32"):
        cached(live, tiny.train, tmp_path)


def test_two_processes_build_it_once(tiny, tmp_path):
    context = multiprocessing.get_context("fork")
    results = context.Queue()

    def build():
        torch.set_num_threads(1)
        live = reader(tiny)
        cached(live, tiny.train, tmp_path)
        results.put(live.rows - probed(tiny))

    both = [context.Process(target=build) for _ in range(2)]
    for each in both:
        each.start()
    for each in both:
        each.join(60)
    assert sorted(results.get(timeout=5) for _ in both) == [0, len(tiny.train)]


def test_training_with_the_cache_is_training_without(tiny, tmp_path, caplog):
    curves, states = [], []
    for rules in (None, CacheConfig(folder=tmp_path, precision="fp32"), CacheConfig(folder=tmp_path)):
        student = tiny.model(width=8)
        options = {"epochs": 2, "learning_rate": 1e-3, "batch_size": 4, "cache": rules}
        history = distil(tiny.model(seed=1), student, tiny.train, tiny.dev, **options)
        curves.append([epoch["loss"] for epoch in history.epochs])
        states.append(torch.cat([p.flatten() for p in student.parameters()]))
    assert curves[1] == pytest.approx(curves[0], rel=1e-5)
    assert curves[2] == pytest.approx(curves[0], rel=1e-3)
    torch.testing.assert_close(states[1], states[0], atol=1e-4, rtol=1e-3)
    with caplog.at_level(logging.INFO):
        options |= {"epochs": 1, "cache": CacheConfig(folder=tmp_path / "unused")}
        distil(tiny.model(seed=1), tiny.model(width=8), tiny.train, tiny.dev, **options)
    assert "no teacher cache: one epoch reads it once" in caplog.text
    assert not list((tmp_path / "unused").glob("*/"))


def test_one_epoch_gives_the_same_student_whether_or_not_a_cache_is_there(tiny, tmp_path):
    states = []
    for epochs in (1, 3, 1):
        student = tiny.model(width=8, layers=1)
        options = {"epochs": epochs, "cache": CacheConfig(folder=tmp_path), "graph_heads": 2}
        distil(tiny.model(seed=1), student, tiny.train, tiny.dev, **options)
        states.append(torch.cat([p.flatten() for p in student.parameters()]))
    assert torch.equal(states[0], states[2])


def values_of(folder):
    (found,) = folder.glob("*/values.bin")
    return found.read_bytes()


@pytest.mark.parametrize("lost", ["first", "every second", "last"])
def test_a_build_that_was_cut_off_gives_the_same_numbers(tiny, tmp_path, lost):
    options = {"precision": "fp32"}  # in which the batch of a row shows
    cached(reader(tiny), tiny.train, tmp_path, **options)
    straight = values_of(tmp_path)
    (state,) = tmp_path.glob("*/state.bin")
    sums = np.fromfile(state, dtype=np.uint64)
    sums[{"first": slice(0, 5), "every second": slice(None, None, 2), "last": slice(-5, None)}[lost]] = 0
    sums.tofile(state)
    values = state.with_name("values.bin")
    written = np.fromfile(values, dtype=np.int32)
    assert straight == written.tobytes()
    cached(reader(tiny), tiny.train, tmp_path, **options)
    assert values_of(tmp_path) == straight


def test_a_file_system_that_cannot_reserve_is_written_all_the_same(tiny, tmp_path, monkeypatch):
    def unknown(*_):
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    monkeypatch.setattr(store.os, "posix_fallocate", unknown)
    assert isinstance(cached(reader(tiny), tiny.train, tmp_path), CachedTeacher)


@pytest.mark.skipif(sys.platform != "linux", reason="/proc")
def test_what_was_read_does_not_stay_in_memory(tmp_path):
    rows, numbers = 64, 512 * 1024
    index = CacheIndex("x", rows, rows, numbers, 1, "fp16")
    files = CacheFiles(tmp_path / "x", index, np.arange(rows + 1))
    for row in range(rows):
        files.write(row, np.full(numbers, row, dtype=np.int16), np.zeros(1, dtype=np.float32))
        files.let_go(row)
    files.flush()
    files.let_go()
    before = mapped_megabytes()
    for row in range(rows):
        assert files.read(row)[0].sum() == row * numbers
        files.let_go(row)
    files.let_go()
    assert mapped_megabytes() - before < 8
    for row in range(rows):
        files.read(row)[0].sum()
    assert mapped_megabytes() - before > 32, "it would stay"


def mapped_megabytes():
    status = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines())
    return int(status["RssFile"].split()[0]) / 1024


def test_a_cache_that_the_disk_cannot_hold_is_refused_before_it_is_written(tiny, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(store.os, "posix_fallocate", full)
    with pytest.raises(
        CannotWriteError, match=r"teacher cache cannot be written: No space left .*lower cache\.gigabytes"
    ):
        cached(reader(tiny), tiny.train, tmp_path)
    assert not list(tmp_path.glob("*/"))


def test_caches_are_cleared_by_name(tiny, tmp_path):
    cached(reader(tiny), tiny.train, tmp_path)
    cached(reader(tiny), tiny.dev, tmp_path)
    first, second = (folder.name for folder, _ in cached_folders(tmp_path))
    with pytest.raises(ArtifactError, match=f"no cache 'other'; there are {first}, {second}"):
        clear_cache(tmp_path, "other")
    clear_cache(tmp_path, first)
    assert [folder.name for folder, _ in cached_folders(tmp_path)] == [second]
    assert len(clear_cache(tmp_path, "all")) == 1
    assert [path.suffix for path in tmp_path.iterdir()] == [".lock", ".lock"]


def test_a_cache_that_is_being_built_is_not_cleared(tiny, tmp_path):
    cached(reader(tiny), tiny.train, tmp_path)
    folder, _ = cached_folders(tmp_path)[0]
    lock = FileLock(tmp_path / f"{folder.name.rpartition('-')[0]}.lock")
    with lock, pytest.raises(ArtifactError, match="another process is at work on this cache"):
        clear_cache(tmp_path, "all")
    assert (folder / "values.bin").is_file()


def test_reading_ahead_changes_nothing(tiny, tmp_path):
    live = reader(tiny)
    size = int(tiny.train.lengths.sum()) * (2 * 16 + 2 * 16) * 2
    source = cached(live, tiny.train, tmp_path, gigabytes=0.6 * size / 1e9)
    batch = next(batches(tiny))
    source.read_ahead(batch)
    mask = batch.inputs["attention_mask"].bool()
    close(source(batch), LiveTeacher.__call__(live, batch), mask, rtol=1e-3, atol=1e-3)


def test_rows_that_are_not_cached_are_as_exact_as_those_that_are_in_mixed_precision(tiny, tmp_path):
    live = reader(tiny)
    size = int(tiny.train.lengths.sum()) * (2 * 16 + 2 * 16) * 2
    source = cached(live, tiny.train, tmp_path, gigabytes=0.6 * size / 1e9)
    for batch in batches(tiny):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found = source(batch)
        mask = batch.inputs["attention_mask"].bool()
        close(found, LiveTeacher.__call__(live, batch), mask, rtol=1e-3, atol=1e-3)


def test_a_finished_cache_is_taken_on_a_full_disk(tiny, tmp_path, monkeypatch):
    cached(reader(tiny), tiny.train, tmp_path)
    full = shutil.disk_usage(tmp_path)._replace(free=0)
    monkeypatch.setattr(cache_source.shutil, "disk_usage", lambda _: full)
    again = reader(tiny)
    assert isinstance(cached(again, tiny.train, tmp_path), CachedTeacher)
    assert again.rows == probed(tiny)
    with pytest.raises(CannotWriteError, match=r"GB are needed .* 0 GB are free .* lower cache.gigabytes"):
        cached(reader(tiny, (0, 1)), tiny.train, tmp_path)
    assert len(list(tmp_path.glob("*/"))) == 1


def test_which_rows_are_cached_does_not_depend_on_the_disk(tiny, tmp_path, monkeypatch):
    size = int(tiny.train.lengths.sum()) * (2 * 16 + 2 * 16) * 2
    kept = []
    for free in (1e12, 1.1 * size):
        disk = shutil.disk_usage(tmp_path)._replace(free=free)
        monkeypatch.setattr(cache_source.shutil, "disk_usage", lambda _, disk=disk: disk)
        source = cached(reader(tiny), tiny.train, tmp_path / str(free), gigabytes=0.6 * size / 1e9)
        kept.append(source.files.cached)
    assert np.array_equal(*kept)
    assert 0.5 < kept[0].mean() < 0.7


@pytest.mark.parametrize("reason", ["full", "closed"])
def test_a_cache_that_cannot_be_written_does_not_stop_a_run_at_its_end(tiny, tmp_path, monkeypatch, caplog, reason):
    rules = CacheConfig(folder=tmp_path / "caches")
    teacher = tiny.model(seed=1).eval()
    expected = teacher_logits(teacher, tiny.dev, rules=CacheConfig(folder=tmp_path / "good"), device=CPU)
    if reason == "full":
        full = shutil.disk_usage(tmp_path)._replace(free=0)
        monkeypatch.setattr(cache_source.shutil, "disk_usage", lambda _: full)
    else:
        (tmp_path / "caches").write_text("a file")
    found = teacher_logits(teacher, tiny.dev, rules=rules, device=CPU)
    assert np.array_equal(found, expected), "to the last digit"
    assert "computed without" in caplog.text


@pytest.mark.parametrize("gigabytes", [0.0, 1.0])
def test_logits_of_a_teacher_are_computed_once(tiny, tmp_path, monkeypatch, gigabytes):
    teacher, asked = tiny.model(seed=1).eval(), []
    expected = predict_logits(teacher, tiny.dev)
    forward = type(teacher).forward

    def counted(self, input_ids, *args, **inputs):
        asked.append(len(input_ids))
        return forward(self, input_ids, *args, **inputs)

    monkeypatch.setattr(type(teacher), "forward", counted)
    for call in range(2):
        asked.clear()
        logits = teacher_logits(
            teacher, tiny.dev, rules=CacheConfig(folder=tmp_path, gigabytes=gigabytes), device=CPU, batch_size=5
        )
        np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-5)
        again = call == 1 and gigabytes > 0
        assert sum(asked) == (probed(tiny) if again else len(tiny.dev) + (probed(tiny) if gigabytes else 0))


def test_routed_and_averaged_teachers_of_the_same_weights_have_different_caches(tiny):
    parts = {domain: tiny.model(seed=number) for number, domain in enumerate(tiny.splits.domains)}
    marks = {fingerprint(combined(parts, how), tiny.dev, (), "none", "fp16", "fp32") for how in ("route", "average")}
    assert len(marks) == 2


def test_a_teacher_that_computes_in_bf16_has_a_cache_of_its_own_that_is_nearly_the_same(tiny, tmp_path):
    """Also of rows that are not cached, which are computed in the same way."""
    exact = cached(reader(tiny), tiny.train, tmp_path, precision="fp32")
    low = cached(reader(tiny), tiny.train, tmp_path, precision="fp32", compute="bf16")
    assert exact.files.folder != low.files.folder
    share = 0.6 * low.files.index.bytes / 1e9
    partly = cached(reader(tiny), tiny.train, tmp_path, precision="fp32", compute="bf16", gigabytes=share)
    assert not partly.files.cached.all()
    for batch in batches(tiny):
        expected, found, also = exact(batch), low(batch), partly(batch)
        for one, other, third in zip(expected.tensors, found.tensors, also.tensors, strict=True):
            torch.testing.assert_close(other, one, rtol=0.05, atol=0.05)
            torch.testing.assert_close(third, other, rtol=0.02, atol=0.02)
        assert not torch.equal(found.hidden_states[1], expected.hidden_states[1])


def test_a_teacher_that_is_not_cached_computes_in_bf16_as_well(tiny, tmp_path):
    """Of one epoch, or where hardly a row fits: nearly the student of a teacher in fp32, and not quite."""
    states = {}
    for kept, rules in {"one epoch": {}, "no room": {"gigabytes": 1e-9}}.items():
        for compute in ("fp32", "bf16"):
            student = tiny.model(width=8, layers=1)
            cache = CacheConfig(folder=tmp_path, compute=compute, **rules)
            distil(
                tiny.model(seed=1), student, tiny.train, tiny.dev, epochs=1 if kept == "one epoch" else 2, cache=cache
            )
            states[kept, compute] = torch.cat([p.detach().flatten() for p in student.parameters()])
        assert not torch.equal(states[kept, "fp32"], states[kept, "bf16"])
        torch.testing.assert_close(states[kept, "fp32"], states[kept, "bf16"], rtol=0.05, atol=0.02)
    assert not list(tmp_path.glob("*/values.bin"))


def test_logits_that_a_teacher_is_measured_by_are_computed_exactly_whatever_the_cache_does(tiny, tmp_path):
    teacher = tiny.model(seed=1).eval()
    found = teacher_logits(teacher, tiny.dev, rules=CacheConfig(folder=tmp_path, compute="bf16"), device=CPU)
    np.testing.assert_allclose(found, predict_logits(teacher, tiny.dev), rtol=1e-4, atol=1e-5)


def answering(tiny, **model):
    """A teacher that is asked for its answers alone."""
    return Counted(tiny.model(seed=1, **model), (), attention="none")


@pytest.mark.parametrize("share", [1.0, 0.5])
def test_answers_are_taken_from_a_cache_of_levels(tiny, tmp_path, caplog, share):
    """Whether it holds the levels of all rows, or of some and the answers of all."""
    whole = cached(reader(tiny, (0, 1)), tiny.train, tmp_path).files.index.bytes
    if share < 1:
        shutil.rmtree(tmp_path)
        cached(reader(tiny, (0, 1)), tiny.train, tmp_path, gigabytes=share * whole / 1e9)
    live = answering(tiny)
    with caplog.at_level(logging.INFO):
        source = cached(live, tiny.train, tmp_path)
    assert live.rows == probed(tiny)
    assert "logits are taken from" in caplog.text
    shutil.rmtree(tmp_path)
    alone = cached(answering(tiny), tiny.train, tmp_path)
    for batch in batches(tiny):
        torch.testing.assert_close(source(batch).logits, alone(batch).logits)


def test_answers_of_another_teacher_text_or_way_are_not(tiny, tmp_path):
    cached(reader(tiny), tiny.train, tmp_path)
    for live, data, rules in (
        (Counted(tiny.model(seed=2), (), attention="none"), tiny.train, {}),
        (answering(tiny), tiny.dev, {}),
        (answering(tiny), tiny.train, {"compute": "bf16"}),
        (Counted(tiny.model(seed=1), (), attention="none", every_head=True), tiny.train, {}),
    ):
        cached(live, data, tmp_path, **rules)
        assert live.rows == probed(tiny) + len(data)


def test_answers_of_every_head_are_taken_too(tiny, tmp_path):
    levels = Counted(tiny.model(seed=1), (0, 2), attention="queries_keys", every_head=True)
    cached(levels, tiny.train, tmp_path)
    live = Counted(tiny.model(seed=1), (), attention="none", every_head=True)
    source = cached(live, tiny.train, tmp_path)
    assert live.rows == probed(tiny)
    for batch in batches(tiny):
        found, expected = source(batch), LiveTeacher.__call__(live, batch)
        torch.testing.assert_close(found.logits, expected.logits)
        torch.testing.assert_close(found.head_logits, expected.head_logits)


def test_damaged_levels_give_no_answers(tiny, tmp_path, caplog):
    folder = cached(reader(tiny), tiny.train, tmp_path).files.folder
    content = bytearray((folder / "values.bin").read_bytes())
    content[len(content) // 2] ^= 1
    (folder / "values.bin").write_bytes(content)
    live = answering(tiny)
    with caplog.at_level(logging.WARNING):
        cached(live, tiny.train, tmp_path)
    assert "is damaged" in caplog.text
    assert live.rows > probed(tiny), "what is left is computed"


def test_an_older_cache_that_does_not_say_whose_answers_it_holds_is_still_read(tiny, tmp_path):
    folder = cached(reader(tiny), tiny.train, tmp_path).files.folder
    index = json.loads((folder / "index.json").read_text())
    del index["answers"]
    (folder / "index.json").write_text(json.dumps(index))
    (folder / "manifest.json").unlink()
    again, live = reader(tiny), answering(tiny)
    cached(again, tiny.train, tmp_path)
    assert again.rows == probed(tiny)
    cached(live, tiny.train, tmp_path)
    assert live.rows == probed(tiny) + len(tiny.train)
