"""Ways out of PyTorch for a student of BERT's family, timed side by side on one core: what exporters and runtimes give.

python benchmarks/export_routes.py RECIPE TEACHER STUDENT [EXPORT...]

RECIPE names the data, whose test texts are read, cut to --tokens and sorted by their lengths. Each route computes the
logits of one domain's classifier, in batches of 32 and text by text, without tokenising. EXPORT: folders of `hrkd
export`, run as they are. CTranslate2 is timed where it is installed. The last row is not a model: the student's 8-bit
products alone, as ONNX Runtime computes them.
"""

from __future__ import annotations

import argparse
import logging
import tempfile
import warnings
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_dynamic, quantize_static
from onnxruntime.transformers import float16, optimizer
from onnxruntime.transformers.fusion_options import FusionOptions
from setting import interleaved

from hrkd.data.reading import encode
from hrkd.deploy.engines.exported import ExportEngine
from hrkd.models.open_model import open_model
from hrkd.models.shape import shape_of
from hrkd.recipe.loading import load_recipe
from hrkd.run.prepare import prepare_data

BATCHES = (32, 1)
INPUTS = ("input_ids", "attention_mask", "token_type_ids")
Columns = dict[str, np.ndarray]
Route = Callable[[Columns], np.ndarray]


def main() -> None:
    """Measure and print a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe")
    parser.add_argument("teacher", type=Path)
    parser.add_argument("student", type=Path)
    parser.add_argument("exports", type=Path, nargs="*")
    parser.add_argument("--tokens", type=int, default=256)
    parser.add_argument("--texts", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    texts = prepare_data(load_recipe(arguments.recipe, needed=("data",)).data).splits.test.rows["text"]
    model, tokenizer = open_model(arguments.student)
    columns, _ = encode(tokenizer, texts[: arguments.texts], None, arguments.tokens, "head_tail")
    batches = {size: _batches(columns, size) for size in BATCHES}
    with tempfile.TemporaryDirectory() as place:
        routes = {"teacher, torch": _torch(_plain(arguments.teacher))}
        routes |= _routes(_plain(arguments.student), Path(place), batches[32])
        for folder in arguments.exports:
            routes[f"hrkd: {folder.name}"] = _export(folder)
        if find_spec("ctranslate2"):
            routes["CTranslate2, int8"] = _ctranslate2(model, tokenizer, Path(place))
        shape = shape_of(model.encoder.config)
        routes["8-bit products alone"] = _products(shape.layers, shape.width, shape.feed_forward, Path(place))
        ways = {(name, size): partial(_all, route, batches[size]) for name, route in routes.items() for size in BATCHES}
        timings = interleaved(ways, arguments.rounds)
        said = {name: _said(route, batches[32]) for name, route in routes.items()}
    first, own = "teacher, torch", said["student, torch"]
    print(f"{arguments.texts} texts, one thread, median of {arguments.rounds} rounds in turn\n")
    print("| route | batch 32, texts/s | times | batch 1, texts/s | times | largest difference |")
    print("|---|---:|---:|---:|---:|---:|")
    for name in routes:
        cells = []
        for size in BATCHES:
            rate = arguments.texts / timings[name, size].median
            cells.append(f"{rate:,.0f} | {timings[first, size].median / timings[name, size].median:.1f}")
        alike = said[name].shape == own.shape and name != first
        print(f"| {name} | {' | '.join(cells)} | {f'{abs(said[name] - own).max():.1g}' if alike else ''} |")


def _plain(folder: Path) -> torch.nn.Module:
    model, _ = open_model(folder)
    return model.to_plain(model.domains[0]).eval()


def _batches(columns: Any, size: int) -> list[Columns]:
    order = sorted(range(len(columns["input_ids"])), key=lambda i: -len(columns["input_ids"][i]))
    found = []
    for start in range(0, len(order), size):
        rows = [columns["input_ids"][i] for i in order[start : start + size]]
        ids = np.zeros((len(rows), len(rows[0])), dtype=np.int64)
        for line, row in zip(ids, rows, strict=True):
            line[: len(row)] = row
        mask = (np.arange(ids.shape[1]) < np.array(list(map(len, rows)))[:, None]).astype(np.int64)
        found.append(dict(zip(INPUTS, (ids, mask, np.zeros_like(ids)), strict=True)))
    return found


def _all(route: Route, batches: list[Columns]) -> None:
    for batch in batches:
        route(batch)


def _said(route: Route, batches: list[Columns]) -> np.ndarray:
    return np.concatenate([route(batch) for batch in batches])


def _torch(model: torch.nn.Module) -> Route:
    def run(batch: Columns) -> np.ndarray:
        with torch.inference_mode():
            return model(**{name: torch.from_numpy(values) for name, values in batch.items()}).logits.numpy()

    return run


def _routes(model: torch.nn.Module, place: Path, calibration: list[Columns]) -> dict[str, Route]:
    """The student in PyTorch, and by what exporters and ONNX Runtime's own tools make of it."""
    dynamo, script, fused = (place / f"{name}.onnx" for name in ("dynamo", "script", "fused"))
    example = tuple(torch.from_numpy(calibration[-1][name][:2]) for name in INPUTS)
    axes = {name: {0: "texts", 1: "tokens"} for name in INPUTS}
    names: dict[str, Any] = {"input_names": list(INPUTS), "output_names": ["logits"]}
    dynamic = {name: {0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC} for name in INPUTS}
    torch.onnx.export(model, example, dynamo, dynamo=True, dynamic_shapes=dynamic, verbose=False, **names)
    model.set_attn_implementation("eager")
    torch.onnx.export(
        model, example, script, dynamo=False, dynamic_axes=axes | {"logits": {0: "texts"}}, opset_version=17, **names
    )
    config = model.config
    how = {"num_heads": config.num_attention_heads, "hidden_size": config.hidden_size}
    optimizer.optimize_model(str(script), "bert", optimization_options=FusionOptions("bert"), **how).save_model_to_file(
        str(fused)
    )
    files = {"dynamo": dynamo, "TorchScript, fused": fused}
    for name in ("dynamic int8", "static int8", "fp16"):
        files[f"TorchScript, fused, {name}"] = place / f"{name.replace(' ', '-')}.onnx"
    untyped = {"DefaultTensorType": TensorProto.FLOAT}
    quantize_dynamic(
        fused, files["TorchScript, fused, dynamic int8"], weight_type=QuantType.QInt8, extra_options=untyped
    )
    quantize_static(
        dynamo, files["TorchScript, fused, static int8"], _Reader(calibration), quant_format=QuantFormat.QDQ,
        activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8, op_types_to_quantize=["MatMul", "Gemm"],
    )  # fmt: skip
    files["dynamo, static int8"] = files.pop("TorchScript, fused, static int8")  # fused attention has no static form
    halves = float16.convert_float_to_float16(onnx.load(fused), keep_io_types=True)
    onnx.save(halves, files["TorchScript, fused, fp16"])
    return {"student, torch": _torch(model), **{f"onnx: {name}": _session(file) for name, file in files.items()}}


class _Reader(CalibrationDataReader):
    def __init__(self, batches: list[Columns]) -> None:
        self.batches = iter(batches)

    def get_next(self) -> Columns | None:
        return next(self.batches, None)


def _session(file: Path) -> Route:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    wanted = {each.name for each in session.get_inputs()}
    return lambda batch: session.run(None, {name: batch[name] for name in wanted})[0]


def _export(folder: Path) -> Route:
    engine = ExportEngine(folder, threads=1)

    def run(batch: Columns) -> np.ndarray:
        inputs = dict(batch)
        short = -inputs["input_ids"].shape[1] % engine._multiple
        inputs = {name: np.pad(values, ((0, 0), (0, short))) for name, values in inputs.items()}
        return engine._run({**inputs, "domain_ids": np.zeros(len(inputs["input_ids"]), dtype=np.int64)})

    return run


def _ctranslate2(model: Any, tokenizer: Any, place: Path) -> Route:
    """Its encoder of BERT in 8 bits, with pooler and head behind it."""
    import ctranslate2

    plain = model.to_plain(model.domains[0]).eval()
    plain.bert.save_pretrained(place / "bert")
    tokenizer.save_pretrained(place / "bert")
    ctranslate2.converters.TransformersConverter(str(place / "bert")).convert(str(place / "ct2"), quantization="int8")
    encoder = ctranslate2.Encoder(str(place / "ct2"), device="cpu", intra_threads=1, inter_threads=1)
    weights = {name: values.detach().numpy() for name, values in plain.named_parameters()}

    def run(batch: Columns) -> np.ndarray:
        lengths = batch["attention_mask"].sum(axis=1)
        rows = [row[:length].tolist() for row, length in zip(batch["input_ids"], lengths, strict=True)]
        first = np.array(encoder.forward_batch(rows).last_hidden_state)[:, 0]
        pooled = np.tanh(first @ weights["bert.pooler.dense.weight"].T + weights["bert.pooler.dense.bias"])
        return pooled @ weights["classifier.weight"].T + weights["classifier.bias"]

    return run


def _products(layers: int, width: int, feed_forward: int, place: Path) -> Route:
    """What cannot be left out: every product of a layer's inputs and weights, in 8 bits, and nothing between them."""
    sizes = [(width, width)] * 4 + [(width, feed_forward), (feed_forward, width)]
    nodes, weights = [], []
    for i, (rows, columns) in enumerate(sizes * layers):
        values = np.random.default_rng(i).integers(-127, 127, (rows, columns), dtype=np.int8)
        weights.append(numpy_helper.from_array(values, f"w{i}"))
        nodes.append(helper.make_node("MatMulInteger", [f"x{rows}", f"w{i}"], [f"y{i}"]))
    info = helper.make_tensor_value_info
    inputs = [info(f"x{size}", TensorProto.UINT8, ["n", size]) for size in (width, feed_forward)]
    outputs = [info(f"y{i}", TensorProto.INT32, ["n", columns]) for i, (_, columns) in enumerate(sizes * layers)]
    graph = helper.make_graph(nodes, "products", inputs, outputs, weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, place / "products.onnx")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(place / "products.onnx"), options, providers=["CPUExecutionProvider"])

    def run(batch: Columns) -> np.ndarray:
        tokens = batch["input_ids"].size
        session.run(None, {f"x{size}": np.ones((tokens, size), dtype=np.uint8) for size in (width, feed_forward)})
        return np.zeros(0)

    return run


if __name__ == "__main__":
    main()
