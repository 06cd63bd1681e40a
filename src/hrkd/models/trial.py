"""A trial of an encoder's family before time is spent on it: small copies with random weights go through everything.

What a family does is found out by doing it, so that one that nobody has thought of is told apart too: encoders whose
heads need more than their states, decoders, attention that cannot be read, padding that counts.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from tempfile import TemporaryDirectory
from typing import Any

import torch
from accelerate import PartialState
from torch import Tensor
from transformers import AutoModelForSequenceClassification, PreTrainedConfig, PreTrainedTokenizerBase
from transformers.utils import logging as transformers_logging

from hrkd.errors import ModelError
from hrkd.models.cpu_kernels import cpu_kernels
from hrkd.models.families import OTHER_FAMILY
from hrkd.models.multi_domain import MultiDomainClassifier
from hrkd.models.probe import PROBES
from hrkd.models.shape import StudentShape, shape_of, student_config
from hrkd.models.start.build import Start, build_student
from hrkd.models.trace import AttentionKind, EncoderTrace, QueriesKeys, set_attention
from hrkd.models.vocabulary import smaller_vocabulary, token_ids_of
from hrkd.support.messages import first_line

__all__ = ["try_encoder", "try_start", "try_vocabulary"]

LAYERS, HEADS, HEAD_WIDTH = 2, 4, 8
TOKENS, WORDS = 12, 64
PROCESSOR = torch.device("cpu")
DOMAINS, LABELS = ("one", "other"), ("no", "yes", "perhaps")


def try_encoder(
    config: PreTrainedConfig,
    attention: AttentionKind,
    *,
    where: str,
    token_types: bool = False,
    device: torch.device = PROCESSOR,
) -> None:
    """Make a small copy of an encoder, with a head per domain, and use it in every way that teachers and students are.

    The copy has another size, but the same kind of layers and heads of an even width where the encoder's are. The
    trial runs on the processor.

    Args:
        config: of the encoder.
        attention: what is to be read of it.
        where: what messages begin with.
        token_types: whether the tokenizer gives them.
        device: of the run; for a processor its kernels are tried too.

    Raises:
        ModelError: it cannot be used; the message says what failed and what to do.
    """
    try:
        shape_of(config)
    except ModelError as error:
        raise ModelError(f"{where}: {error}") from None
    problem = _problem(config, attention, token_types, device)
    if problem is None:
        return
    advice = OTHER_FAMILY
    if attention != "none" and _problem(config, "none", token_types, device) is None:
        advice = "set method.attention: none, which leaves the attention losses out, or " + advice
    raise ModelError(
        f"{where}: models of the {config.model_type} family cannot be used: a trial with a small one of random weights "
        f"failed at {problem}; {advice}"
    )


def try_start(teacher: PreTrainedConfig, student: PreTrainedConfig, start: Start) -> None:
    """Start a small copy of a student from a small copy of its teacher.

    Raises:
        ModelError: it fails; the message names the starts that are left.
    """
    wide, narrow = _small(teacher), shape_of(_small(student))
    with _quietly():
        source, batches = _copy(wide).eval(), [_batch(wide) for _ in range(4)]
        layers = range(min(narrow.layers, wide.num_hidden_layers) + 1)
        shape = _no_wider(replace(narrow, layers=layers[-1]), shape_of(wide))
        try:
            build_student(source, shape, start=start, layer_map=layers, batches=batches)
        except Exception as error:  # whatever a family's code may raise
            raise ModelError(
                f"student.start: {start}: a trial with small copies of the {teacher.model_type} family failed "
                f"({_told(error)}); take start: random, or a small encoder as student.checkpoint"
            ) from error


def try_vocabulary(config: PreTrainedConfig, tokenizer: PreTrainedTokenizerBase) -> None:
    """Take all pieces but those of a few texts from a small copy of an encoder and from its tokenizer.

    Both must say of these texts what they said before.

    Raises:
        ModelError: they do not, or it cannot be done at all; the message says why.
    """
    small = _small(config)
    small.vocab_size = config.vocab_size
    cut = {"truncation": True, "max_length": TOKENS, "padding": True, "return_tensors": "pt"}
    with _quietly():
        try:
            model, domains = _copy(small).eval(), torch.arange(len(PROBES)) % len(DOMAINS)
            before = tokenizer(list(PROBES), **cut)
            counts = torch.bincount(before["input_ids"].flatten(), minlength=max(tokenizer.get_vocab().values()) + 1)
            vocabulary = smaller_vocabulary(model, tokenizer, counts.numpy())
            after = vocabulary.tokenizer(list(PROBES), **cut)
            _check(vocabulary.kept[after["input_ids"]].tolist(), before["input_ids"].tolist())
            expected = model(**before, domain_ids=domains).logits
            _check_close(vocabulary.prune(model)(**after, domain_ids=domains).logits, expected)
        except Exception as error:  # whatever a family's code may raise
            raise ModelError(
                f"student.vocabulary: the vocabulary cannot be made smaller: {_told(error)}; leave the field out"
            ) from error


def _problem(config: PreTrainedConfig, *trial: Any) -> str | None:
    done: list[str] = []
    with _quietly():
        try:
            done.extend(_steps(config, *trial))
        except Exception as error:  # whatever a family's code may raise
            return f"{done[-1]} ({_told(error)})"
    return None


def _steps(
    config: PreTrainedConfig, attention: AttentionKind, token_types: bool, device: torch.device
) -> Iterator[str]:
    """Does one thing after the other, and says before each what it is."""
    yield "making it"
    small = _small(config)
    model, shape, batch = _copy(small).eval(), shape_of(small), _batch(small, token_types=token_types)
    unused = copy.deepcopy(model)  # BigBird's first short text changes what attention it has
    mask, domains = batch["attention_mask"], torch.tensor([0, 1])
    rows, tokens = mask.shape

    yield "classifying by the encoder's states alone"
    logits = model(**batch, domain_ids=domains).logits
    _check(logits.shape, (rows, len(LABELS)))

    yield "export to a plain classifier, whose logits must be the same"
    _check_close(model.to_plain(DOMAINS[1])(**batch).logits[1], logits[1])

    yield "saving and loading"
    if PartialState().is_main_process:  # of several the others write nothing
        with TemporaryDirectory() as folder:
            model.save_pretrained(folder)
            again = MultiDomainClassifier.from_pretrained(folder, trust_remote_code=False).eval()
            _check_close(again(**batch, domain_ids=domains).logits, logits)

    yield f"reading attention ({attention})" if attention != "none" else "its attention"
    model = unused
    set_attention(model.encoder, attention)
    trace = model(**batch, domain_ids=domains, hidden_states=True, attention=attention != "none")
    _check_close(trace.logits, logits)
    read = [each.queries @ each.keys.mT if isinstance(each, QueriesKeys) else each for each in trace.attention]
    if attention != "none":
        _check([(*each.shape[:-3], *each.shape[-2:]) for each in read], [(rows, tokens, tokens)] * shape.layers)

    yield "hidden states, one for the embeddings and one a layer"
    states = trace.hidden_states
    _check([state.shape for state in states], [(rows, tokens, shape.width)] * (shape.layers + 1))

    yield "padding, which must change nothing"
    length = int(mask[1].sum())
    short = {name: tensor[1:, :length] for name, tensor in batch.items()}
    alone = model(**short, domain_ids=domains[1:], hidden_states=True)
    _check_close(alone.logits[0], logits[1])
    _check_close(alone.hidden_states[-1][0], states[-1][1, :length])

    yield "a training step"
    with torch.enable_grad(), cpu_kernels(device):
        outputs: EncoderTrace = model.train()(**batch, domain_ids=domains, hidden_states=True, attention=bool(read))
        torch.autograd.backward([tensor[tensor.isfinite()].square().sum() for tensor in outputs.tensors])


def _small(config: PreTrainedConfig) -> PreTrainedConfig:
    """The same encoder with fewer layers and words, and narrower; heads of odd width stay odd."""
    shape = shape_of(config)
    if not shape.layers:  # a static one is small as it is
        small = copy.deepcopy(config)
        small.num_labels = len(LABELS)
        return small
    layers, heads, head_width = min(LAYERS, shape.layers), min(HEADS, shape.heads), shape.width // shape.heads
    width = heads * min(head_width, HEAD_WIDTH + head_width % 2)
    small = student_config(config, StudentShape(layers, width, heads, min(shape.feed_forward, 2 * width)))
    small.num_labels = len(LABELS)
    special = token_ids_of(small.to_dict())
    if isinstance(getattr(small, "vocab_size", None), int):
        small.vocab_size = min(small.vocab_size, max(special.values(), default=0) + WORDS)
    return small


def _no_wider(narrow: StudentShape, wide: StudentShape) -> StudentShape:
    """A student's copy no wider than its teacher's: heads of odd width shrink less than others do."""
    head_width = min(narrow.width // narrow.heads, wide.width)
    heads = min(narrow.heads, wide.width // head_width)
    feed_forward = min(narrow.feed_forward, wide.feed_forward)
    return replace(narrow, width=heads * head_width, heads=heads, feed_forward=feed_forward)


def _copy(small: PreTrainedConfig) -> MultiDomainClassifier:
    plain = AutoModelForSequenceClassification.from_config(small, trust_remote_code=False)
    return MultiDomainClassifier.from_plain(plain, domains=DOMAINS, labels=LABELS, max_tokens=TOKENS, new_heads=True)


def _batch(small: PreTrainedConfig, *, token_types: bool = False) -> dict[str, Tensor]:
    """Two rows of random words; the second is padded."""
    last = getattr(small, "vocab_size", None) or WORDS
    ids = torch.randint(max(0, last - WORDS // 2), last, (2, TOKENS))
    mask = torch.ones_like(ids)
    mask[1, TOKENS // 2 :] = 0
    ids = ids.where(mask.bool(), getattr(small, "pad_token_id", None) or 0)
    types = {"token_type_ids": torch.zeros_like(ids)} if token_types else {}
    return {"input_ids": ids, "attention_mask": mask, **types}


def _check(found: Any, expected: Any) -> None:
    if found != expected:
        raise ValueError(f"found {found}, expected {expected}")


def _check_close(found: Tensor, expected: Tensor) -> None:
    if not torch.allclose(found, expected, atol=1e-4, rtol=1e-3):
        raise ValueError(f"they differ by {float((found - expected).abs().max()):.2g}")


def _told(error: Exception) -> str:
    return first_line(error) if isinstance(error, ModelError) else f"{type(error).__name__}: {first_line(error)}"


@contextmanager
def _quietly() -> Iterator[None]:
    """Without gradients and warnings, and with random numbers of its own."""
    shown = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()
    try:
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.default_generator.manual_seed(0)  # an accelerator's stay as they are
            yield
    finally:
        transformers_logging.set_verbosity(shown)
