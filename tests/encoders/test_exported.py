"""torch.export archives: run as torch runs them, and nothing in a hostile one is run."""

from __future__ import annotations

import inspect
import json
import pickle
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ibench.encoders import Encoder, exported, open_checkpoint
from ibench.encoders.contract import check
from ibench.encoders.exported.layout import Refusal
from ibench.encoders.exported.operators import FUNCTIONAL, find_operator
from ibench.errors import IbenchError
from ibench.modalities import Modality

CARD = """
name: tiny
trained_pairs: [[image, text]]
archive:
  image: {size: 16, mean: [0.5, 0.5, 0.5], std: [0.25, 0.25, 0.25]}
  text: {file: text.pt2, context: 8}
"""
CPU = torch.device("cpu")
GRAPH = "models/model.json"
WEIGHTS = "data/weights/model_weights_config.json"


class Looks(nn.Module):
    """Patches, a class token, a block of attention, the token's vector: what CLIP's image tower is made of."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 16, 8, 8, bias=False)
        self.token = nn.Parameter(torch.randn(16))
        self.places = nn.Parameter(torch.randn(5, 16))
        self.norm = nn.LayerNorm(16)
        self.attention = nn.MultiheadAttention(16, 2, batch_first=True)
        self.mlp = nn.Sequential(nn.Linear(16, 32), nn.GELU(), nn.Dropout(0.5), nn.Linear(32, 16))
        self.project = nn.Parameter(torch.randn(16, 4))

    def forward(self, pixels: Tensor) -> Tensor:
        x = self.patches(pixels).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], 1, -1), x], dim=1) + self.places
        y = self.norm(x)
        x = x + self.attention(y, y, y, need_weights=False)[0]
        x = x + self.mlp(self.norm(x))
        return x[:, 0] @ self.project


class Reads(nn.Module):
    """Embedding, causal attention, the vector of the highest token: what CLIP's text tower is made of."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(49408, 16)
        self.heads = nn.Linear(16, 48)
        self.project = nn.Linear(16, 4)
        self.register_buffer("mask", torch.full((8, 8), -torch.inf).triu(1), persistent=False)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.words(ids)
        queries, keys, values = self.heads(x).unflatten(-1, (3, 2, 8)).permute(2, 0, 3, 1, 4).unbind()
        x = nn.functional.scaled_dot_product_attention(queries, keys, values, attn_mask=self.mask)
        x = x.transpose(1, 2).reshape(ids.shape[0], 8, 16)
        x = x.masked_fill((ids == 0)[..., None], float("-inf")).clamp(min=-9.0)
        scale = torch.tensor([1.0, 2.0, 3.0, 4.0])
        return self.project(x[torch.arange(x.shape[0]), ids.argmax(dim=-1)]) * scale


class Small(nn.Module):
    """A layer and a relu in place: the least that has a weight, a node and a free batch."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x).relu_()


def save(module: nn.Module, example: Tensor, file: Path, *, decomposed: bool = False) -> Path:
    dynamic = ({0: torch.export.Dim("batch")},)
    program = torch.export.export(module, (example,), dynamic_shapes=dynamic)
    torch.export.save(program.run_decompositions() if decomposed else program, file)
    return file


def looks() -> Looks:
    torch.manual_seed(0)
    return Looks().eval()


def reads() -> Reads:
    torch.manual_seed(0)
    return Reads().eval()


def ids(n: int) -> Tensor:
    return torch.randint(0, 49408, (n, 8), generator=torch.Generator().manual_seed(n))


@pytest.fixture(scope="module")
def towers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with image.pt2 and its card, and text.pt2."""
    folder = tmp_path_factory.mktemp("towers")
    save(looks(), torch.zeros(2, 3, 16, 16), folder / "image.pt2")
    save(reads(), ids(2), folder / "text.pt2")
    (folder / "image.pt2.card.yaml").write_text(CARD)
    return folder


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    return save(Small().eval(), torch.zeros(2, 3), tmp_path_factory.mktemp("small") / "small.pt2")


def opened(file: Path, dtype: str = "fp32") -> Encoder:
    return open_checkpoint(str(file), "cpu", dtype).load()


def load(file: Path, dtype: torch.dtype = torch.float32) -> exported.Program:
    return exported.load(file, CPU, dtype)


def refused(file: Path, dtype: torch.dtype = torch.float32) -> str:
    with pytest.raises(IbenchError) as error:
        load(file, dtype)
    assert str(error.value).startswith(f"{file}: ")
    assert "\n" not in str(error.value)
    return str(error.value).removeprefix(f"{file}: ")


def packed(file: Path, new: Path, changed: Mapping[str, bytes | None], how: int = zipfile.ZIP_STORED) -> Path:
    """A copy with some members changed, or left out where None."""
    with zipfile.ZipFile(file) as old, zipfile.ZipFile(new, "w", how) as copy:
        for info in old.infolist():
            content = changed.get(info.filename.partition("/")[2], old.read(info))
            if content is not None:
                copy.writestr(info.filename, content)
    return new


def read(file: Path, member: str) -> Any:
    with zipfile.ZipFile(file) as archive:
        return json.loads(archive.read(f"{file.stem}/{member}"))


def edited(file: Path, new: Path, member: str, edit: Callable[[Any], object]) -> Path:
    content = read(file, member)
    edit(content)
    return packed(file, new, {member: json.dumps(content).encode()})


def graph(content: Any) -> Any:
    return content["graph_module"]["graph"]


def test_the_card_names_one_archive_for_each_modality(towers: Path) -> None:
    checkpoint = open_checkpoint(str(towers / "image.pt2"), "cpu", "fp32")
    assert (checkpoint.card.name, checkpoint.card.family) == ("tiny", "archive")
    assert {path.name for path in checkpoint.card.files} == {"image.pt2", "text.pt2", "image.pt2.card.yaml"}
    for outcome in check(checkpoint.load(), "fp32"):
        assert outcome.faults == ()


@pytest.mark.parametrize("n", [1, 2, 7])
def test_vectors_are_those_of_the_module_at_any_batch_size(towers: Path, n: int) -> None:
    encoder = opened(towers / "image.pt2")
    pixels = torch.randn(n, 3, 16, 16, generator=torch.Generator().manual_seed(n))
    with torch.no_grad():
        seen, said = looks()(pixels), reads()(ids(n))
    for modality, batch, expected in ((Modality.IMAGE, pixels, seen), (Modality.TEXT, ids(n), said)):
        unit = nn.functional.normalize(expected, dim=-1)
        torch.testing.assert_close(encoder.encode(modality, batch), unit, rtol=0, atol=1e-6)


def test_a_program_gives_what_torch_s_own_loader_gives(towers: Path) -> None:
    for name, batch in (("image.pt2", torch.randn(5, 3, 16, 16)), ("text.pt2", ids(5))):
        with torch.no_grad():
            expected = torch.export.load(towers / name).module()(batch)
            torch.testing.assert_close(load(towers / name)(batch), expected, rtol=1e-6, atol=1e-6)


class Convolves(nn.Module):
    """Batch norm, a relu in place, tied weights, a buffer that is a part of a larger storage."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(inplace=True), nn.MaxPool2d(2), nn.AdaptiveAvgPool2d(1)
        )
        self.tied = nn.Linear(8, 8)
        self.again = nn.Linear(8, 8)
        self.again.weight = self.tied.weight
        self.register_buffer("part", torch.randn(4, 8)[1:3].T)

    def forward(self, pixels: Tensor) -> Tensor:
        return self.again(self.tied(self.layers(pixels).flatten(1))) @ self.part


@pytest.mark.parametrize("decomposed", [False, True])
def test_convolutions_norms_tied_weights_and_views_of_storages(tmp_path: Path, decomposed: bool) -> None:
    module = Convolves().eval()
    module.layers[1].running_mean.uniform_(-1, 1)
    pixels = torch.randn(3, 1, 12, 12)
    file = save(module, pixels, tmp_path / "seen.pt2", decomposed=decomposed)
    targets = {node["target"].split(".")[3] for node in graph(read(file, GRAPH))["nodes"]}
    assert ("_native_batch_norm_legit_no_training" in targets) is decomposed
    with torch.no_grad():
        torch.testing.assert_close(load(file)(pixels), module(pixels), rtol=1e-6, atol=1e-6)


class Hears(nn.Module):
    """A spectrogram in decibels."""

    def forward(self, sound: Tensor) -> Tensor:
        spectrum = torch.stft(sound, 64, 32, window=torch.hann_window(64), return_complex=True).abs().square()
        return (spectrum + 1e-6).log10().mean(dim=-1)


def test_spectrograms(tmp_path: Path) -> None:
    sound = torch.randn(3, 400)
    torch.testing.assert_close(load(save(Hears(), sound, tmp_path / "heard.pt2"))(sound), Hears()(sound))


def test_devices_in_the_graph_are_replaced(towers: Path) -> None:
    assert '"as_device": {"type": "cpu"' in json.dumps(read(towers / "text.pt2", GRAPH))
    program = exported.load(towers / "text.pt2", torch.device("meta"), torch.float32)
    assert program(ids(3).to("meta")).device.type == "meta"


def test_values_are_freed_after_their_last_use_and_weights_are_kept(small: Path) -> None:
    program = load(small)
    held = {name: value.clone() for name, value in program.constants.items()}
    batch = torch.randn(2, 3)
    assert torch.equal(program(batch), program(batch))
    assert {name for step in program.steps for name in step.frees} >= {*held, program.batch}
    assert all(torch.equal(value, held[name]) for name, value in program.constants.items())


# dtypes


def test_weights_are_cast_where_the_graph_names_no_dtype(small: Path) -> None:
    torch.manual_seed(0)
    module, batch = Small().eval().bfloat16(), torch.randn(5, 3)
    given = load(small, torch.bfloat16)(batch)
    assert given.dtype == torch.bfloat16
    torch.testing.assert_close(given, module(batch.bfloat16()))


class Upcasts(Small):
    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x).softmax(dim=-1, dtype=torch.float32)


def test_a_graph_that_names_a_dtype_runs_in_its_own_only(tmp_path: Path) -> None:
    module = Upcasts().eval().bfloat16()
    file = save(module, torch.zeros(2, 3, dtype=torch.bfloat16), tmp_path / "half.pt2")
    told = refused(file, torch.float32)
    assert told.startswith("was exported in bfloat16 and its graph names float32 ('torch.ops.aten.softmax.int')")
    batch = torch.randn(2, 3)
    torch.testing.assert_close(load(file, torch.bfloat16)(batch), module(batch.bfloat16()))


# what is asked of the module


class Drops(Small):
    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.dropout(self.layer(x), training=self.training)


class Counts(Small):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("seen", torch.zeros(4))

    def forward(self, x: Tensor) -> Tensor:
        self.seen.add_(1)
        return self.layer(x) + self.seen


class Two(Small):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        return self.layer(x), x


class Turns(Small):
    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            y = self.layer(x)
        return y * 2


@pytest.mark.parametrize(
    ("module", "told"),
    [
        (Drops().train(), "in training mode ('torch.ops.aten.dropout.default'); call model.eval()"),
        (Counts(), "writes into its weights or input ('torch.ops.aten.add_.Tensor'); call model.eval()"),
        (Two(), "gives 2 values, not one tensor"),
        (Turns(), "calls 'torch.ops.higher_order.wrap_with_set_grad_enabled', which is none of the operators"),
    ],
)
def test_what_is_no_function_of_one_tensor_is_told(tmp_path: Path, module: nn.Module, told: str) -> None:
    assert told in refused(save(module, torch.zeros(2, 3), tmp_path / "odd.pt2"))


class Shifts(Small):
    def forward(self, x: Tensor) -> Tensor:
        x[:, 0].add_(1)
        return self.layer(x)


class Grows(Small):
    def forward(self, x: Tensor) -> Tensor:
        self.layer.weight.detach()[0].add_(1)
        return self.layer(x)


@pytest.mark.parametrize("module", [Shifts(), Grows()])
def test_a_view_of_weights_or_input_is_not_written_into(tmp_path: Path, module: nn.Module) -> None:
    program = load(save(module, torch.zeros(2, 3), tmp_path / "writes.pt2"))
    batch = torch.zeros(2, 3)
    with pytest.raises(RuntimeError, match=r"add_\.Tensor: would write into the weights or the input; call model.eval"):
        program(batch)
    assert not batch.any()


def test_a_decomposed_graph_that_changes_its_buffers_is_told(tmp_path: Path) -> None:
    file = save(Counts(), torch.zeros(2, 3), tmp_path / "counts.pt2", decomposed=True)
    assert "changes what it is given (buffer_mutation); call model.eval()" in refused(file)


def test_a_fixed_batch_is_told_with_the_way_out(tmp_path: Path) -> None:
    torch.export.save(torch.export.export(Small(), (torch.zeros(2, 3),)), tmp_path / "fixed.pt2")
    told = refused(tmp_path / "fixed.pt2")
    assert told.startswith("was exported for batches of 2 only; export it for any: torch.export.export(")
    assert "dynamic_shapes=({0: torch.export.Dim('batch')},)" in told


def test_a_card_that_does_not_fit_is_told(towers: Path, tmp_path: Path) -> None:
    for name in ("image.pt2", "text.pt2"):
        (tmp_path / name).write_bytes((towers / name).read_bytes())
    card = tmp_path / "image.pt2.card.yaml"
    with pytest.raises(IbenchError, match=r"describe them under 'archive' in image\.pt2\.card\.yaml"):
        opened(tmp_path / "image.pt2")
    card.write_text(CARD.replace("size: 16", "method: encode_image, size: 16"))
    with pytest.raises(IbenchError, match="has 'forward' only, not 'encode_image'; export one archive for each"):
        opened(tmp_path / "image.pt2")
    card.write_text(CARD.replace("size: 16", "size: 24"))
    encoder = opened(tmp_path / "image.pt2")
    with pytest.raises(IbenchError, match=r"exported for float32 \['any', 3, 16, 16\], .* float32 \[2, 3, 24, 24\]"):
        encoder.encode(Modality.IMAGE, torch.zeros(2, 3, 24, 24))
    with pytest.raises(IbenchError, match="exported for int64"):
        encoder.encode(Modality.TEXT, torch.zeros(2, 8))
    with pytest.raises(IbenchError, match=r"text method failed: torch.ops.aten.embedding.default: index out of range"):
        encoder.encode(Modality.TEXT, torch.full((2, 8), 50000))


# hostile archives


class Touches:
    """A pickle that makes a file when it is loaded."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[Any, ...]:
        return (open, (str(self.file), "w"))


def test_pickles_are_not_loaded(small: Path, tmp_path: Path) -> None:
    touched = tmp_path / "touched"
    hostile = pickle.dumps(Touches(touched))

    def marked(config: Any) -> None:
        config["config"]["layer.weight"]["use_pickle"] = True

    content = read(small, WEIGHTS)
    marked(content)
    where = content["config"]["layer.weight"]["path_name"]
    changed = {WEIGHTS: json.dumps(content).encode(), f"data/weights/{where}": hostile}
    assert "keeps 'layer.weight' as a pickle" in refused(packed(small, tmp_path / "weight.pt2", changed))
    harmless = packed(small, tmp_path / "inputs.pt2", {"data/sample_inputs/model.pt": hostile})
    load(harmless)(torch.zeros(2, 3))
    assert not touched.exists()
    with pytest.raises(Exception):  # noqa: B017, PT011  # it would have been run: whatever torch makes of what it gives
        torch.export.load(packed(small, tmp_path / "torch.pt2", changed)).module()
    assert touched.exists()


def test_strings_are_not_evaluated(small: Path, tmp_path: Path) -> None:
    touched = tmp_path / "touched"
    code = f"open({str(touched)!r}, 'w')"

    def insert(content: Any) -> None:
        graph(content)["tensor_values"]["x"]["sizes"][0]["as_expr"]["expr_str"] = code
        content["guards_code"] = [code]

    load(edited(small, tmp_path / "strings.pt2", GRAPH, insert))(torch.zeros(2, 3))
    assert not touched.exists()


@pytest.mark.parametrize(
    "target",
    [
        "torch.ops.aten.save.default",
        "torch.ops.aten.from_file.default",
        "torch.ops.aten.set_.source_Tensor",
        "torch.ops.aten.resize_.default",
        "torch.ops.aten.empty.memory_format",
        "torch.ops.aten.rand.default",
        "torch.ops.aten.add.out",
        "torch.ops.aten.add.str",
        "torch.ops.aten.to.prim_Device",
        "torch.ops.aten.upsample_bilinear2d.default",
        "torch.ops.aten.relu",
        "torch.ops.aten.relu.__class__",
        "torch.ops.aten.__class__.mro",
        "torch.ops.aten..default",
        "torch.ops.higher_order.cond",
        "torch.ops.prim.device.default",
        "torch.ops.mine.relu.default",
        "torch.ops.mine.torch.ops.aten.relu.default",
        "torch.hub.load",
        "_operator.attrgetter",
        "_operator.pow",
        "os.system",
        "#mine:relu",
        "",
    ],
)
def test_what_is_not_on_the_list_is_refused_by_name(small: Path, tmp_path: Path, target: str) -> None:
    file = edited(small, tmp_path / "x.pt2", GRAPH, lambda content: graph(content)["nodes"][-1].update(target=target))
    assert f"calls '{target}', which is none of the operators" in refused(file)


def test_every_operator_on_the_list_computes_from_what_it_is_given() -> None:
    """By torch's own schemas: none takes a file, a stream or a source of random numbers, or draws any."""
    plain = {"Tensor", "number", "int", "SymInt", "float", "bool", "str", "Device", "ScalarType", "Layout"}
    plain |= {"MemoryFormat", "complex"}
    draws = {"dropout", "feature_dropout", "scaled_dot_product_attention"}  # in training only, which is refused
    allowed = 0
    for name in sorted(FUNCTIONAL | {f"{name}_" for name in FUNCTIONAL}):
        packet = getattr(torch.ops.aten, name, None)
        assert packet is not None or name.endswith("_"), name
        for overload in packet.overloads() if packet else ():
            try:
                find_operator(f"torch.ops.aten.{name}.{overload}")
            except Refusal:
                continue
            allowed += 1
            operator = getattr(packet, overload)
            types = {str(given.real_type) for given in operator._schema.arguments}
            for wrapper in ("Optional[", "List[", "Optional["):
                types = {one.removeprefix(wrapper).removesuffix("]") for one in types}
            assert types <= plain, (name, overload, types)
            assert torch.Tag.nondeterministic_seeded not in operator.tags or name.rstrip("_") in draws, name
    assert allowed > 400


@pytest.mark.parametrize(
    ("edit", "told"),
    [
        (
            lambda content: graph(content)["nodes"][-1]["inputs"][0]["arg"].update(as_tensor={"name": "nobody"}),
            "its graph uses 'nobody', which nothing before makes",
        ),
        (lambda content: graph(content)["nodes"].reverse(), "its graph uses 'linear', which nothing before makes"),
        (
            lambda content: content["graph_module"]["signature"]["output_specs"][0]["user_output"]["arg"].update(
                as_tensor={"name": "nobody"}
            ),
            "its graph uses 'nobody'",
        ),
        (
            lambda content: content["graph_module"]["signature"]["input_specs"][0]["parameter"].update(
                parameter_name="nothing"
            ),
            "has no weight 'nothing', which its graph asks for",
        ),
        (lambda content: graph(content)["nodes"].append(graph(content)["nodes"][-1]), "makes one of ['relu_'] twice"),
        (
            lambda content: graph(content)["nodes"][-1]["inputs"][0].update(arg={"as_graph": {"name": "g"}}),
            "has an argument as_graph that ibench does not read",
        ),
        (
            lambda content: graph(content)["nodes"][-1]["inputs"][0].update(arg={"as_int": "7"}),
            "not as torch.export.save writes it: graph_module.graph.nodes.1.inputs.0.arg.as_int: Input should be",
        ),
        (lambda content: graph(content).pop("nodes"), "graph_module.graph.nodes: Field required"),
        (lambda content: graph(content)["tensor_values"].clear(), "does not describe its input 'x'"),
        (
            lambda content: content["schema_version"].update(major=9, minor=0),
            "in version 9.0 of the export schema; ibench reads 8.x, which torch 2.12 writes",
        ),
    ],
)
def test_a_graph_that_does_not_hold_together_is_told(
    small: Path, tmp_path: Path, edit: Callable[[Any], object], told: str
) -> None:
    assert told in refused(edited(small, tmp_path / "x.pt2", GRAPH, edit))


def meta(content: Any) -> Any:
    return content["config"]["layer.weight"]["tensor_meta"]


@pytest.mark.parametrize(
    ("edit", "told"),
    [
        (lambda content: meta(content)["sizes"][0].update(as_int=5), "'layer.weight' [5, 3] of float32 needs more"),
        (
            lambda content: meta(content).update(dtype=8),
            "'layer.weight' [4, 3] of float64 needs more than its 48 bytes",
        ),
        (lambda content: meta(content)["strides"][0].update(as_int=4), "needs more than its 48 bytes"),
        (lambda content: meta(content)["storage_offset"].update(as_int=1), "needs more than its 48 bytes"),
        (lambda content: meta(content)["storage_offset"].update(as_int=-1), "describes a weight with 1 sizes, [-1]"),
        (lambda content: meta(content)["sizes"].pop(), "[4] of float32 does not fit its 48 bytes"),
        (lambda content: meta(content)["sizes"][0].update(as_int=2**40), "needs more than its 48 bytes"),
        (lambda content: meta(content)["sizes"][0].update(as_int=2**70), "describes a weight with 2 sizes"),
        (
            lambda content: meta(content).update(
                sizes=[{"as_int": n} for n in (0, 2**30, 2**30)], strides=[{"as_int": 1}] * 3
            ),
            "does not fit its 48 bytes",
        ),
        (
            lambda content: meta(content).update(sizes=[{"as_int": 2**40}], strides=[{"as_int": 0}]),
            "needs more than its 48 bytes",
        ),
        (lambda content: meta(content).update(dtype=33), "is of dtype 33, layout 7, which ibench does not read"),
        (lambda content: meta(content).update(layout=1), "is of dtype 7, layout 1, which ibench does not read"),
        (
            lambda content: content["config"]["layer.weight"].update(path_name="../../../etc/passwd"),
            "lacks 'data/weights/../../../etc/passwd'",
        ),
        (lambda content: content["config"].pop("layer.bias"), "has no weight 'layer.bias'"),
    ],
)
def test_weights_that_their_bytes_do_not_hold_are_told(
    small: Path, tmp_path: Path, edit: Callable[[Any], object], told: str
) -> None:
    assert told in refused(edited(small, tmp_path / "x.pt2", WEIGHTS, edit))


def test_bytes_that_do_not_hold_the_weights_are_told(small: Path, tmp_path: Path) -> None:
    where = f"data/weights/{read(small, WEIGHTS)['config']['layer.weight']['path_name']}"
    short = packed(small, tmp_path / "short.pt2", {where: b"1234" * 11})
    assert "'layer.weight' [4, 3] of float32 needs more than its 44 bytes" in refused(short)
    odd = packed(small, tmp_path / "odd.pt2", {where: b"1" * 49})
    assert "does not fit its 49 bytes" in refused(odd)
    assert f"lacks '{where}'" in refused(packed(small, tmp_path / "none.pt2", {where: None}))


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"archive_version": b"1"}, "its archive_version is b'1', and ibench reads 0"),
        ({"archive_format": b"pt3"}, "its archive_format is b'pt3', and ibench reads pt2"),
        ({"byteorder": b"big"}, "its byteorder is b'big', and ibench reads little"),
        ({"byteorder": None}, "lacks 'byteorder'"),
        ({GRAPH: None}, "holds compiled code and no graph"),
        ({GRAPH: b"[" * 100_000}, "not as torch.export.save writes it: the JSON"),
        ({GRAPH: b"\xff\xfe"}, "not as torch.export.save writes it: the JSON"),
        ({WEIGHTS: None}, f"lacks '{WEIGHTS}'"),
        ({WEIGHTS: b"{}"}, "not as torch.export.save writes it: config: Field required"),
    ],
)
def test_archives_of_another_make_are_told(
    small: Path, tmp_path: Path, changed: Mapping[str, bytes | None], told: str
) -> None:
    assert told in refused(packed(small, tmp_path / "x.pt2", changed))


def test_a_file_that_is_not_whole_is_told(towers: Path, small: Path, tmp_path: Path) -> None:
    whole = small.read_bytes()
    cut = tmp_path / "cut.pt2"
    cut.write_bytes(whole[: len(whole) // 2])
    assert "not a whole torch.export archive" in refused(cut)
    with pytest.raises(IbenchError, match=r"not a whole torch file .* copy or download it again"):
        opened(cut)
    flipped = bytearray(whole)
    flipped[whole.index(b"schema_version")] ^= 1
    cut.write_bytes(flipped)
    assert "not a whole torch.export archive (Bad CRC-32" in refused(cut)
    assert "is compressed or encrypted" in refused(packed(small, cut, {}, zipfile.ZIP_DEFLATED))
    for name in ("image.pt2", "image.pt2.card.yaml"):
        (tmp_path / name).write_bytes((towers / name).read_bytes())
    (tmp_path / "text.pt2").write_bytes((towers / "text.pt2").read_bytes()[:100_000])
    with pytest.raises(IbenchError, match=r"text\.pt2: not a TorchScript archive"):
        opened(tmp_path / "image.pt2")


def test_members_that_lie_over_each_other_are_told(small: Path, tmp_path: Path) -> None:
    """A directory that lists one stretch of the file many times would unpack to more than the file is."""
    file = tmp_path / "x.pt2"
    with zipfile.ZipFile(packed(small, file, {}), "a") as archive:
        biggest = max(archive.infolist(), key=lambda info: info.file_size)
        archive.filelist.extend([biggest] * 3)
        archive._didModify = True  # type: ignore[attr-defined]  # so that the directory is written anew
    assert "its members claim more bytes than the file has" in refused(file)


def test_an_archive_of_an_older_form_is_told(tmp_path: Path) -> None:
    file = tmp_path / "old.pt2"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("serialized_exported_program.json", "{}")
        archive.writestr("version", "8.2")
    (tmp_path / "old.pt2.card.yaml").write_text("archive: {audio: {rate: 8000, seconds: 0.5}}\n")
    with pytest.raises(IbenchError, match=r"as torch 2\.12 writes it; export it again"):
        opened(file)


def test_sizes_do_not_grow_without_bound() -> None:
    multiply = find_operator("_operator.mul")
    assert multiply is not None
    assert multiply.call(a=6, b=7) == 42
    with pytest.raises(OverflowError):
        multiply.call(a=2**40, b=2**40)
    with pytest.raises(TypeError):
        multiply.call(a=[1], b=2**40)


def test_the_reason_for_a_reader_of_our_own_still_holds() -> None:
    """When torch's loader stops unpickling and evaluating, this fails and the reader is to be thought over."""
    import torch._export.serde.serialize as serialize
    import torch.export.pt2_archive._package as package

    assert "weights_only=False" in inspect.getsource(package)
    assert "sympy.sympify(" in inspect.getsource(serialize)
