"""Exported programs (.pt2): they compute as PyTorch's own loader has them, and nothing that one of them says is run."""

import io
import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.export import Dim, export, save

from engine import attack, wrap
from engine.__main__ import main
from engine.errors import EngineError
from engine.experiments import arrivals
from engine.experiments.arrivals import recognising_task, trying, trying_task, uploaded
from engine.explain.cam import cam
from engine.progress import Progress
from engine.work.kinds import KINDS, Bench, Task
from engine.work.store import Store
from engine.zoo import checkpoints
from engine.zoo.cards import Card
from engine.zoo.exported import archive
from engine.zoo.exported.network import opened
from engine.zoo.registry import load_model
from engine.zoo.trying import remarks
from engine.zoo.variants import EXPORTED
from tests import collected, nets

SIDE, CLASSES = 24, ("dark", "light")
MARK = Path("/tmp/perturbscope-code-was-run")
CODE = f"__import__('pathlib').Path('{MARK}').touch()"
Files = dict[str, bytes]


class Bomb:
    def __reduce__(self):
        return (Path.touch, (MARK,))


def exported(net: nn.Module, count: int = 2, fixed: bool = False) -> Files:
    """The files of what PyTorch saves."""
    out, sizes = io.BytesIO(), None if fixed else ({0: Dim("n", max=3)},)
    save(export(net, (torch.rand(count, 3, SIDE, SIDE),), dynamic_shapes=sizes), out)
    with zipfile.ZipFile(out) as file:
        return {name.partition("/")[2]: file.read(name) for name in file.namelist()}


def written(path: Path, files: Files, folder: str = "net/") -> Path:
    with zipfile.ZipFile(path, "w") as file:
        for name, data in files.items():
            file.writestr(folder + name, data)
    return path


@pytest.fixture(scope="module")
def net() -> nn.Module:
    return nets.seeded(2)


@pytest.fixture(scope="module")
def files(net) -> Files:
    return exported(net)


@pytest.fixture(autouse=True)
def home(monkeypatch, tmp_path) -> Path:
    monkeypatch.setenv("PERTURBSCOPE_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def saved(content: object) -> bytes:
    out = io.BytesIO()
    torch.save(content, out)
    return out.getvalue()


# ---- what it computes


def both(network: Callable[[Tensor], Tensor], count: int) -> tuple[Tensor, Tensor]:
    """Logits and gradients of noise."""
    images = torch.rand(count, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0)).requires_grad_()
    logits = network(images)
    return logits.detach(), torch.autograd.grad((logits[:, 0] - logits[:, 1]).sum(), images)[0]


def old_weights(files: Files, net: nn.Module) -> tuple[Files, str]:
    return {"models/model.json": files["models/model.json"],
            "data/weights/model.pt": saved(dict(net.state_dict()))}, "net/"


def older_file(files: Files, net: nn.Module) -> tuple[Files, str]:
    return {"serialized_exported_program.json": files["models/model.json"],
            "serialized_state_dict.pt": saved(dict(net.state_dict()))}, ""


@pytest.mark.parametrize("form", [lambda files, net: (files, "net/"), old_weights, older_file,
                                  lambda files, net: (exported(net, fixed=True), "x/")],
                         ids=["any number", "as PyTorch 2.8 saved it", "as PyTorch 2.6 saved it", "two at once"])
def test_a_program_computes_as_the_network_did_that_was_exported(tmp_path, files, net, form):
    network, known = opened(written(tmp_path / "net.pt2", *form(files, net)))
    assert (known.arch, known.outputs, known.channels, known.size) == (EXPORTED, 2, 3, SIDE)
    for count in (1, 5):  # two or three at once, and once more
        for found, wanted in zip(both(network, count), both(net, count), strict=True):
            assert torch.allclose(found, wanted, atol=1e-6) and wanted.any()


class Whole(nn.Module):
    """What networks do besides convolutions: numbers made of sizes, attention, tensors that are made on the way."""

    def forward(self, x: Tensor) -> Tensor:
        tokens = x.flatten(2).transpose(1, 2)
        mask = torch.full((tokens.shape[1], tokens.shape[1]), float("-inf"), device=x.device).triu(1)
        seen = nn.functional.scaled_dot_product_attention(tokens, tokens, tokens, attn_mask=mask)
        low, high = seen.reshape(x.shape[0] * 2, -1).max(dim=1).values.reshape(x.shape[0], 2).split(1, dim=1)
        return torch.cat([low, high * torch.arange(1, 2, device=x.device, dtype=torch.float32)], dim=1)


def test_sizes_and_tensors_that_are_made_on_the_way(tmp_path):
    network, known = opened(written(tmp_path / "net.pt2", exported(Whole().eval())))
    assert known.outputs == 2 and torch.allclose(both(network, 2)[1], both(Whole(), 2)[1], atol=1e-6)
    assert network.to("meta")(torch.rand(2, 3, SIDE, SIDE, device="meta")).device.type == "meta"


# ---- what is refused


def rewritten(name: str, change: Callable[[dict], object]) -> Callable[[Files], Files]:
    """With one of its JSON files changed."""

    def changed(files: Files) -> Files:
        facts = json.loads(files[name])
        change(facts)
        return files | {name: json.dumps(facts).encode()}

    return changed


def program(change: Callable[[dict, dict], object]) -> Callable[[Files], Files]:
    return rewritten("models/model.json", lambda facts: change(facts["graph_module"]["graph"],
                                                              facts["graph_module"]["signature"]))


def step(**facts: object) -> Callable[[Files], Files]:
    return program(lambda graph, signature: graph["nodes"][0].update(facts))


def given(argument: object) -> Callable[[Files], Files]:
    return step(inputs=[{"name": "input", "arg": argument, "kind": 1}])


def renamed_picture(graph: dict, signature: dict) -> None:
    signature["input_specs"][-1]["user_input"]["arg"]["as_tensor"]["name"] = CODE
    graph["tensor_values"][CODE] = graph["tensor_values"].pop("input")


def pickled(kind: str) -> Callable[[Files], Files]:
    """With a payload that is to be unpickled."""

    def change(config: dict) -> None:
        meta = {"path_name": f"{kind}_bomb", "is_param": True, "use_pickle": True, "tensor_meta": None}
        config["config"]["bomb"] = meta

    where = f"data/{kind}s/"
    config = rewritten(f"{where}model_{kind}s_config.json", change)
    return lambda files: config(files) | {f"{where}{kind}_bomb": pickle.dumps(Bomb())}


def sizes(index: int, size: object) -> Callable[[Files], Files]:
    return program(lambda graph, signature: graph["tensor_values"]["input"]["sizes"].__setitem__(index, size))


REFUSED = {
    "a pickle among the weights": (pickled("weight"), "'bomb' is pickled"),
    "a pickle among the constants": (pickled("constant"), "'bomb' is pickled"),
    "a pickle as the state dict": (lambda files: {
        "models/model.json": files["models/model.json"], "data/weights/model.pt": pickle.dumps(Bomb())},
        "no complete exported program"),
    "a pickle in the state dict": (lambda files: {
        "models/model.json": files["models/model.json"], "data/weights/model.pt": saved({"conv.weight": Bomb()})},
        "code in it is not run"),
    "code as a size": (sizes(0, {"as_expr": {"expr_str": CODE, "hint": {"as_int": 2}}}), "no plain number or name"),
    "code as the picture's name": (program(renamed_picture), "no name that PyTorch gives"),
    "code as a value's name": (given({"as_tensor": {"name": CODE}}), "no name that PyTorch gives"),
    "code as a word": (given({"as_string": CODE}), "no name that PyTorch gives"),
    "a file that is read": (step(target="torch.ops.aten.from_file.default"), "computes aten.from_file.default, which"),
    "a program in the program": (step(target="torch.ops.higher_order.cond"), "computes higher_order.cond, which"),
    "any function of Python": (step(target="_operator.methodcaller"), "computes _operator.methodcaller, which"),
    "an operation that writes into others": (step(target="torch.ops.aten.add.out"), "computes aten.add.out, which"),
    "an operation that is none": (step(target="torch.ops.aten.add.__class__"), "does not have"),
    "an operation as an argument": (given({"as_operator": "os.system"}), "other than tensors and numbers"),
    "an object": (given({"as_custom_obj": {"name": "x", "class_fqn": "y"}}), "other than tensors and numbers"),
    "a value of nowhere": (given({"as_tensor": {"name": "nowhere"}}), "'nowhere', which nothing before it gives"),
    "random numbers": (step(target="torch.ops.aten.bernoulli.default"), "computes aten.bernoulli"),
    "too much memory": (step(target="torch.ops.aten.full.default", inputs=[
        {"name": "size", "arg": {"as_ints": [10**6, 10**6]}}, {"name": "fill_value", "arg": {"as_float": 1.0}}]),
        "hold more than 1 GiB"),
    "steps that do not fit": (step(target="torch.ops.aten.relu.default",
                                   inputs=[{"name": "self", "arg": {"as_tensor": {"name": "p_conv_bias"}}}]),
                              "cannot be computed behind its"),
    "its weights changed": (program(lambda graph, signature: graph["nodes"].insert(0, {
        "target": "torch.ops.aten.relu_.default", "outputs": [{"as_tensor": {"name": "new"}}],
        "inputs": [{"name": "self", "arg": {"as_tensor": {"name": "p_conv_weight"}}}]})), "writes into"),
    "a number too many": (rewritten("models/model.json", lambda facts: facts["schema_version"].update(major=9)),
                          "version 9"),
    "pictures of two channels": (sizes(1, {"as_int": 2}), "takes 2 x 2 x 24 x 24"),
    "pictures that are not square": (sizes(2, {"as_int": 32}), "24 x 32; only square"),
    "a weight that is not there": (lambda files: {name: data for name, data in files.items() if "weight_0" not in name},
                                   "no complete exported program"),
    "a weight cut short": (lambda files: files | {"data/weights/weight_0": b"1234"}, "not as large as it says"),
    "two programs": (lambda files: files | {"models/other.json": b"{}"}, "holds 2 exported programs"),
    "what was compiled": (lambda files: {"data/aotinductor/model/net.so": b""}, "only what was compiled"),
    "a way out": (lambda files: files | {"../../out": b""}, "names that PyTorch does not give"),
    "no program at all": (lambda files: files | {"models/model.json": b"[1, 2"}, "not JSON"),
}


@pytest.mark.parametrize(("change", "words"), REFUSED.values(), ids=REFUSED)
def test_what_is_none_of_that_is_refused_and_no_code_is_run(tmp_path, files, monkeypatch, change, words):
    path = written(tmp_path / "net.pt2", change(files))
    monkeypatch.setattr(archive, "MOST_BYTES", 2**20)
    with pytest.raises(EngineError, match=words) as caught:
        checkpoints.recognised(path)
    assert str(caught.value).startswith("net.pt2") and "\n" not in str(caught.value) and not MARK.exists()


def everywhere(files: Files) -> Files:
    """With code where PyTorch's loader would run it and nothing here looks at it."""

    def change(facts: dict) -> None:
        facts["guards_code"] = [CODE]
        graph = facts["graph_module"]["graph"]
        for name, meta in graph["tensor_values"].items():
            if name != "input":
                meta["sizes"] = [{"as_expr": {"expr_str": CODE, "hint": None}}]
        graph["sym_int_values"] = {"s": {"as_expr": {"expr_str": CODE, "hint": None}}}
        for node in graph["nodes"]:
            node["metadata"] = {"stack_trace": CODE, "nn_module_stack": CODE, "source_fn_stack": CODE}
        facts["graph_module"]["module_call_graph"] = [{"fqn": CODE, "signature": None}]

    bombs = dict.fromkeys(("data/sample_inputs/model.pt", "data/constants/opaque_obj_0"), pickle.dumps(Bomb()))
    return rewritten("models/model.json", change)(files) | bombs


def test_code_where_nothing_is_looked_at_is_not_run(tmp_path, files, net, home):
    path = written(tmp_path / "net.pt2", everywhere(files))
    network, _ = opened(path)
    assert torch.allclose(both(network, 2)[0], both(net, 2)[0], atol=1e-6) and not MARK.exists()
    checkpoints.rewritten(path, tmp_path / "kept.safetensors")
    assert CODE.encode() not in (tmp_path / "kept.safetensors").read_bytes()


def test_a_program_that_swells_is_refused_before_it_is_unpacked(tmp_path, files, monkeypatch):
    monkeypatch.setattr(archive, "MOST_BYTES", 1000)
    with pytest.raises(EngineError, match="unpacks to more"):
        opened(written(tmp_path / "net.pt2", files))


def test_a_network_in_training_mode_is_refused(tmp_path, net):
    with pytest.raises(EngineError, match="in eval mode"):
        opened(written(tmp_path / "net.pt2", exported(nets.small_cnn(2).train())))


# ---- as a model like others


def done(task: Task):
    bench = Bench("cpu", Store(Path("/nonexistent")), Progress(), lambda task: None)
    return KINDS[task.kind].reads(KINDS[task.kind].perform(task.spec, bench))


def test_a_program_is_brought_kept_and_attacked_as_the_network_itself(tmp_path, files, net, home):
    path = written(tmp_path / "net.pt2", files)
    arrival = uploaded(io.BytesIO(path.read_bytes()), "my net.pt2")
    known = done(recognising_task(arrival))
    assert (known.arch, known.outputs, known.size) == (EXPORTED, 2, SIDE) and not Path(arrival.path).exists()
    asked = trying(arrival, known, Card(arch=EXPORTED, classes=CLASSES, mean=(0.5,), std=(0.25,), size=SIDE))
    arrivals.keep(asked, done(trying_task(asked)), "my/net")
    kept, itself = load_model("my/net"), wrap(net, CLASSES, mean=(0.5,), std=(0.25,))
    images, labels = np.random.default_rng(0).random((3, 3, SIDE, SIDE), np.float32), [0, 1, 0]
    for name, settings in (("fgsm", {"eps": 4 / 255}), ("pgd", {"eps": 4 / 255, "steps": 3}),
                           ("hopskipjump", {"queries": 40})):
        found, wanted = (attack(name, model, images, labels, **settings, seed=0)
                         for model in (kept, itself))
        assert np.allclose(found.adversarial, wanted.adversarial, atol=1e-3), name
    with pytest.raises(EngineError, match="has no heatmaps"):
        cam(kept, torch.from_numpy(images), labels)
    assert load_model("my/net").digest != wrap(net, CLASSES).digest


def test_of_several_findings_one_is_attacked_and_probabilities_are_noticed(tmp_path):
    path = written(tmp_path / "net.pt2", exported(nn.Sequential(nets.seeded(3), nn.Sigmoid()).eval()))
    card = Card(arch=EXPORTED, classes=("none", "b"), findings=("a", "b", "c"), finding="b", mean=(0.5,), std=(0.25,))
    model = checkpoints.load_as(path, card)
    images = torch.rand(4, 3, SIDE, SIDE)
    assert model(images).shape == (4, 2)
    assert "look like probabilities" in " ".join(remarks(model, images, None)[1])
    with pytest.raises(EngineError, match="3 outputs but its card names 2 classes"):
        checkpoints.load_as(path, Card(arch=EXPORTED, classes=("a", "b"), mean=(0.5,), std=(0.25,)))


def test_a_program_is_attacked_from_the_command_line(tmp_path, files, capsys):
    for place, kind in enumerate(CLASSES):
        collected.save(tmp_path / "data" / kind / "0.png", np.full((SIDE, SIDE), 40 + 160 * place, np.uint8))
    asked = ["attack", "--dataset", f"folder:{tmp_path / 'data'}", "--split", "all", "--attack", "fgsm", "--json",
             "--model", str(written(tmp_path / "net.pt2", files))]
    assert main(asked) == 0
    said = capsys.readouterr()
    assert '"accuracy_adversarial"' in said.out and "recognised as exported program with 2 outputs" in said.err
    assert f"brought to {SIDE} x {SIDE}" in said.err
