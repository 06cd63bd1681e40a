"""Exports of a student, run by ONNX Runtime or OpenVINO. Neither torch nor transformers is imported."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Encoding, Tokenizer

from hrkd.data.cutting import Ints, cut_rows, cut_text
from hrkd.deploy.engines.engine import Columns, Floats, padded
from hrkd.deploy.engines.openvino_package import import_quietly
from hrkd.deploy.engines.words import words_of
from hrkd.deploy.export.rounding import multiplies_in_8_bits
from hrkd.deploy.export_folder import COLUMNS, RESTORE, ExportRecord, read_export
from hrkd.errors import ArtifactError, ModelError
from hrkd.models.kind import UNKNOWN
from hrkd.models.open_model import ModelFacts
from hrkd.support.manifest import file_sum
from hrkd.support.messages import first_line
from hrkd.support.processor import cpu_facts, usable_cores

__all__ = ["ExportEngine"]

logger = logging.getLogger("hrkd.predict")

BATCH_TOKENS = {"onnx": 512, "openvino": 2048}
"""Tokens of a batch, for each thread, with which a student of 3 x 192 is the quickest (benchmarks/batch_tokens.py)."""
SLOWER = ["SkipLayerNormFusion"]
"""What ONNX Runtime would put in the place of a sum and a layer norm takes five times as long as these two, and a fifth
of an 8-bit student's time (1.32; benchmarks/export_routes.py)."""
LENGTHS = 16
"""Lengths that OpenVINO is asked for are multiples of this."""
Run = Callable[[dict[str, Any]], dict[str, Floats]]


class ExportEngine:
    """The graph and the tokenizer of an export.

    Args:
        folder: where it lies.
        threads: of the processor; None: as many as the runtime takes by itself.

    Raises:
        ArtifactError: the folder is no export, or damaged.
        ModelError: the package that runs it is not installed.
    """

    def __init__(self, folder: str | Path, *, threads: int | None = None) -> None:
        self.folder = Path(folder).expanduser()
        self.record, self.threads = read_export(self.folder), threads
        self.tokenizer = _tokenizer(self.folder / "tokenizer.json")
        self._words = _WordByWord.of(self.tokenizer, self.record)
        in_openvino = self.record.target.startswith("openvino")
        if self.record.settings.get("reduced") is False and cpu_facts() and not multiplies_in_8_bits():
            logger.warning(
                "%s: its 8-bit sums can overflow on this processor, which has no instructions for them; measure it "
                "here (hrkd evaluate), or export it on such a machine", self.folder,
            )  # fmt: skip
        self._run = (_openvino if in_openvino else _onnx)(self.folder / self.record.model, threads)
        # OpenVINO makes itself ready anew for each length that it has not met.
        self._multiple = min(LENGTHS, self.facts.max_tokens) if in_openvino else 1

    @property
    def batch_tokens(self) -> int | None:
        """As :class:`hrkd.deploy.engines.engine.Engine` says: what a core's own memory holds of an encoder's states."""
        if self.record.settings.get("attention") == "none":  # a bag of tokens
            return None
        return BATCH_TOKENS[self.record.target.partition("-")[0]] * (self.threads or usable_cores())

    @property
    def facts(self) -> ModelFacts:
        """What the student says of itself."""
        return self.record.facts

    def encode(self, texts: Sequence[str], pairs: Sequence[str] | None) -> tuple[Columns, Ints]:
        """As :func:`hrkd.data.reading.encode`, by the tokenizers library alone."""
        if self._words is not None and pairs is None:
            return self._words(texts, self.record, self._encode)
        return self._encode(texts, pairs)

    def _encode(self, texts: Sequence[str], pairs: Sequence[str] | None) -> tuple[dict[str, list[list[int]]], Ints]:
        keep, longest, tokenizer = self.facts.keep, self.facts.max_tokens, self.tokenizer
        tokenizer.no_padding()
        if keep == "head":
            tokenizer.enable_truncation(longest, strategy="longest_first", direction=self.record.truncation_side)
        else:
            tokenizer.no_truncation()
        asked = list(texts) if pairs is None else list(zip(texts, pairs, strict=True))
        rows: dict[str, list[list[int]]] = {name: [] for name in self.record.inputs}
        owners: list[int] = []
        for i, encoding in enumerate(tokenizer.encode_batch_fast(asked)):
            columns = {name: getattr(encoding, COLUMNS[name]) for name in rows}
            for places in _places(encoding, longest, self.record):
                owners.append(i)
                for name, values in columns.items():
                    rows[name].append(values if places is None else [values[place] for place in places])
        return rows, np.array(owners, dtype=np.int64)

    def logits(self, rows: Columns, domain_ids: Ints) -> tuple[Floats, Floats | None]:
        """As :class:`hrkd.deploy.engines.engine.Engine` says."""
        inputs = padded(rows, self.record.padding, multiple=self._multiple)
        longest = self.facts.max_tokens
        inputs = {name: values[:, :longest] for name, values in inputs.items()}
        for name in self.record.inputs:
            if name not in inputs:  # of a single text all tokens are of the first kind
                inputs[name] = np.zeros_like(inputs["input_ids"])
        try:
            found = self._run({**inputs, "domain_ids": domain_ids})
        except Exception as error:  # the runtimes raise nothing narrower
            raise ArtifactError(f"{self.folder}: its graph fails ({first_line(error)}); {RESTORE}") from error
        return found["logits"], found.get("shares") if (domain_ids == UNKNOWN).any() else None

    def digest(self) -> str:
        """As :class:`hrkd.deploy.engines.engine.Engine` says."""
        total = hashlib.sha256()
        for path in sorted(self.folder.iterdir()):
            if path.is_file():
                total.update(f"{path.name} {file_sum(path)}".encode())
        return total.hexdigest()


@dataclass(frozen=True)
class _WordByWord:
    """Single texts by :func:`hrkd.deploy.engines.words.words_of`, with special tokens around and cut to length."""

    split: Callable[[str], list[int] | None]
    before: list[int]
    behind: list[int]

    @classmethod
    def of(cls, tokenizer: Tokenizer, record: ExportRecord) -> _WordByWord | None:
        """None where the tokenizer is of another kind, or does not put its special tokens around a text."""
        split = words_of(tokenizer)
        tokenizer.no_truncation()
        encoding = tokenizer.encode("a")
        ordinary = [place for place, special in enumerate(encoding.special_tokens_mask) if not special]
        plain = record.truncation_side == "right" and not any(encoding.type_ids) and len(ordinary) == 1
        if split is None or not plain:
            return None
        before, behind = encoding.ids[: ordinary[0]], encoding.ids[ordinary[0] + 1 :]
        return cls(split, before, behind)

    def __call__(
        self,
        texts: Sequence[str],
        record: ExportRecord,
        otherwise: Callable[[Sequence[str], None], tuple[dict[str, list[list[int]]], Ints]],
    ) -> tuple[Columns, Ints]:
        """Token ids of texts alone, as the rest follows from them; some texts are asked ``otherwise``."""
        facts = record.facts
        room = facts.max_tokens - len(self.before) - len(self.behind)
        ids: list[list[int]] = []
        owners: list[int] = []
        for owner, text in enumerate(texts):
            found = self.split(text)
            if found is None or room < 1:
                rows = otherwise([text], None)[0]["input_ids"]
            elif len(found) <= room:
                rows = [[*self.before, *found, *self.behind]]
            else:
                rows = [[*self.before, *kept, *self.behind] for kept in cut_text(found, room, facts.keep)]
            ids += rows
            owners += [owner] * len(rows)
        return {"input_ids": ids}, np.array(owners, dtype=np.int64)


def _places(encoding: Encoding, longest: int, record: ExportRecord) -> Sequence[list[int] | None]:
    """Places of the tokens of each row of a text; None: of all."""
    special = encoding.special_tokens_mask
    if len(special) <= longest:
        return [None]
    whose = encoding.sequence_ids
    owners = (0, 1) if record.facts.pairs else (0,)
    parts = [[p for p, text in enumerate(whose) if text == owner and not special[p]] for owner in owners]
    return list(cut_rows(special, parts, longest, record.facts.keep))


def _tokenizer(file: Path) -> Tokenizer:
    try:
        return Tokenizer.from_file(str(file))
    except Exception as error:  # the library raises nothing narrower
        raise ArtifactError(f"{file}: no tokenizer that can be read ({first_line(error)}); {RESTORE}") from error


def _onnx(file: Path, threads: int | None) -> Run:
    """A session of ONNX Runtime on the processor."""
    try:
        runtime = import_module("onnxruntime")
    except ImportError as error:
        raise ModelError("onnxruntime runs this export, and is not installed; pip install onnxruntime") from error
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads or 0
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        session = runtime.InferenceSession(
            str(file), options, providers=["CPUExecutionProvider"], disabled_optimizers=SLOWER
        )
    except Exception as error:
        raise ArtifactError(f"{file}: ONNX Runtime cannot open it ({first_line(error)}); {RESTORE}") from error
    wanted, given = {each.name for each in session.get_inputs()}, [each.name for each in session.get_outputs()]

    def run(inputs: dict[str, Any]) -> dict[str, Floats]:
        found = session.run(given, {name: values for name, values in inputs.items() if name in wanted})
        return dict(zip(given, found, strict=True))

    return run


def _openvino(file: Path, threads: int | None) -> Run:
    """A request of OpenVINO on the processor."""
    openvino = import_quietly("openvino")
    core = openvino.Core()
    settings: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY"}
    if threads is not None:
        settings["INFERENCE_NUM_THREADS"] = threads
    try:
        compiled = core.compile_model(core.read_model(str(file)), "CPU", settings)
    except Exception as error:
        raise ArtifactError(f"{file}: OpenVINO cannot open it ({first_line(error)}); {RESTORE}") from error
    wanted, given = ({port.get_any_name() for port in ports} for ports in (compiled.inputs, compiled.outputs))
    request = compiled.create_infer_request()

    def run(inputs: dict[str, Any]) -> dict[str, Floats]:
        found = request.infer({name: values for name, values in inputs.items() if name in wanted})
        return {name: np.array(found[name], dtype=np.float32) for name in given}

    return run
