"""The names of all exports, and the folder that one writes: whole, or not there."""

from __future__ import annotations

import json
import shutil
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from forge.errors import ConfigError, EnvironmentLackError
from forge.export import ollama, quantise, readme
from forge.export.architecture import architecture_of, read_config
from forge.export.chat import frames_of, rendered, template_of
from forge.export.gguf_file import write_adapter, write_model
from forge.export.lora import CONFIG, WEIGHTS, Adapter, Weights
from forge.export.merged import base_tensors, write_merged
from forge.export.request import QUANTISATIONS, Request
from forge.export.servers import OF_FOLDERS, Server, llama_server
from forge.export.tokenizer import Vocabulary, stops_of, vocabulary_of
from forge.store import atomic
from forge.store.adapters import file_hashes

SERVE = "serve.sh"
Write = Callable[[Request, Path], str]
"""Fills a folder and returns what its README says of how to use it."""


class Format(NamedTuple):
    """One export. `bits`: it takes `--quantise`."""

    name: str
    help: str
    write: Write
    bits: bool = False


def export(form: Format, request: Request, out: Path) -> list[Path]:
    """The files of the new folder `out`, which appears when all of it is on disk.

    Raises `ConfigError` for a wrong request, `ExportError` for what the format cannot carry and `EnvironmentLackError`
    for a disk that is full; then nothing is left behind.
    """
    _check(form, request, out)
    staged = out.with_name(f"{atomic.TEMPORARY}{uuid.uuid4().hex}-{out.name}")
    try:
        staged.mkdir(parents=True)
        usage = form.write(request, staged)
        (staged / "README.md").write_text(readme.text(form.name, request, usage), encoding="utf-8")
        record = {
            "format": form.name,
            "quantise": request.quantise if form.bits else None,
            "base": request.base_name,
            "adapters": [ref.model_copy(update={"path": ""}).model_dump(mode="json") for ref in request.adapters],
            "files": file_hashes(staged),
        }
        (staged / "export.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
        atomic.move_folder(staged, out)
    except OSError as error:
        raise EnvironmentLackError(
            f"cannot write {out}: {error.strerror or error}; nothing was left there: free space or choose another --out"
        ) from error
    finally:
        shutil.rmtree(staged, ignore_errors=True)
    return sorted(path for path in out.rglob("*") if path.is_file())


def _check(form: Format, request: Request, out: Path) -> None:
    if out.exists():
        raise ConfigError(f"{out} exists; an export writes a new folder: choose another --out or remove it")
    if request.quantise not in QUANTISATIONS:
        raise ConfigError(f"there is no quantisation {request.quantise}; there are {', '.join(QUANTISATIONS)}")
    if request.quantise != QUANTISATIONS[0] and not form.bits:
        raise ConfigError(f"--to {form.name} writes no GGUF weights, so --quantise has nothing to do; leave it out")
    stages = [ref.stage for ref in request.adapters]
    if len(set(stages)) != len(stages):
        raise ConfigError("two versions of one stage were named; an export has at most one a stage")
    if len({ref.base_sha256 for ref in request.adapters}) > 1:
        named = ", ".join(f"{ref.model_id} ({ref.base})" for ref in request.adapters)
        raise ConfigError(f"these adapters are of different bases: {named}; export those of each base on their own")
    if request.quantise == "q4_k_m":
        quantise.require()


# What each format writes


def _peft(request: Request, out: Path) -> str:
    _copy_adapters(request, out)
    return "Each folder is a PEFT adapter: `PeftModel.from_pretrained(base, folder)`."


def _merged(request: Request, out: Path) -> str:
    for ref in request.adapters:
        write_merged(out / ref.stage, request.base, Adapter(Path(ref.path)), ref)
    return (
        "Each folder is a whole model in Hugging Face's format with the adapter in its weights. It is an export, never a base: "
        "forge refuses to train from it."
    )


def _gguf(request: Request, out: Path) -> str:
    _vocabulary(request)
    for ref in request.adapters:
        weights = Weights(base_tensors(request.base), Adapter(Path(ref.path)))
        _write_gguf(out / f"{ref.stage}.gguf", request, weights, ref.model_id)
    return "Each file is a whole model for llama.cpp: `llama-cli -m STAGE.gguf --jinja`."


def _gguf_adapter(request: Request, out: Path) -> str:
    _vocabulary(request)
    _adapter_files(request, out)
    return (
        "Each file is an adapter for a GGUF of the base (`--to llama-server` writes one): "
        "`llama-cli -m base.gguf --lora STAGE.adapter.gguf`."
    )


def _ollama(request: Request, out: Path) -> str:
    stops = stops_of(request.base, _vocabulary(request))
    shape, frames = architecture_of(read_config(request.base)), frames_of(template_of(request.base))
    _gguf(request, out)
    tags = {}
    for ref in request.adapters:
        file = f"{ref.stage}.Modelfile"
        content = ollama.modelfile(f"{ref.stage}.gguf", ref.model_id, request.base, shape, frames, stops, request.context)
        (out / file).write_text(content, encoding="utf-8")
        tags[f"forge:{ref.stage}"] = file
    _script(out / "create.sh", ollama.create_script(tags))
    models = "\n".join(f"- `{tag}`" for tag in tags)
    return f"`sh create.sh` makes one Ollama model a stage, as Ollama cannot change adapters between requests:\n\n{models}"


def _llama_server(request: Request, out: Path) -> str:
    _vocabulary(request)
    weights = Weights(base_tensors(request.base))
    _write_gguf(out / "base.gguf", request, weights, request.base_name)
    launch = llama_server("base.gguf", _adapter_files(request, out), request.context)
    _script(out / SERVE, launch.script)
    return f"`sh {SERVE}` serves all stages; a request picks its adapter:\n\n```sh\n{launch.ask}\n```"


def _server(name: str) -> Write:
    def write(request: Request, out: Path) -> str:
        folders = _copy_adapters(request, out)
        prompt = rendered(template_of(request.base), [("user", "...")])
        rank = max(Adapter(Path(ref.path)).rank for ref in request.adapters)
        launch = OF_FOLDERS[name](Server(request.base_name, folders, rank, request.context, prompt))
        _script(out / SERVE, launch.script)
        return f"`sh {SERVE}` serves all stages (base elsewhere: `BASE=...`); a request picks its adapter:\n\n```sh\n{launch.ask}\n```"

    return write


FORMATS: Mapping[str, Format] = {
    form.name: form
    for form in (
        Format("peft", "the adapters as PEFT folders", _peft),
        Format("merged", "whole models in Hugging Face's format, adapters in their weights", _merged),
        Format("gguf", "whole models for llama.cpp, adapters in their weights", _gguf, bits=True),
        Format("gguf-adapter", "the adapters for llama.cpp", _gguf_adapter),
        Format("ollama", "Modelfiles and weights: one Ollama model a stage", _ollama, bits=True),
        Format("llama-server", "base and adapters for llama.cpp's server, adapter per request", _llama_server, bits=True),
        Format("vllm", "adapters and the launch line of vLLM", _server("vllm")),
        Format("sglang", "adapters and the launch line of SGLang", _server("sglang")),
        Format("lorax", "adapters and the launch line of LoRAX", _server("lorax")),
        Format("tgi", "adapters and the launch line of Text Generation Inference", _server("tgi")),
    )
}


def format_named(name: str) -> Format:
    """The format. Raises `ConfigError` that names them all."""
    if name not in FORMATS:
        known = "\n".join(f"  {form.name:<14} {form.help}" for form in FORMATS.values())
        raise ConfigError(f"there is no format {name}; the formats are\n{known}")
    return FORMATS[name]


def _vocabulary(request: Request) -> Vocabulary:
    """The base's tokenizer. Raises `ExportError` for one that no GGUF can carry: the adapter alone would be of no use then."""
    return vocabulary_of(request.base, architecture_of(read_config(request.base)).vocabulary)


def _write_gguf(file: Path, request: Request, weights: Weights, name: str) -> None:
    sha256 = request.adapters[0].base_sha256
    if request.quantise != "q4_k_m":
        write_model(file, request.base, weights, name=name, base_sha256=sha256, bits=request.quantise)
        return
    whole = file.with_suffix(".f16")
    write_model(whole, request.base, weights, name=name, base_sha256=sha256, bits="f16")
    quantise.to_q4_k_m(whole, file)
    whole.unlink()


def _adapter_files(request: Request, out: Path) -> dict[str, str]:
    """Names of the adapters' GGUF files by stage, now in `out`."""
    names = {}
    for ref in request.adapters:
        names[ref.stage] = f"{ref.stage}.adapter.gguf"
        adapter = Adapter(Path(ref.path))
        Weights(base_tensors(request.base), adapter)  # refuses one of another base
        write_adapter(out / names[ref.stage], request.base, adapter, name=ref.model_id, base_sha256=ref.base_sha256)
    return names


def _copy_adapters(request: Request, out: Path) -> dict[str, str]:
    """Names of PEFT folders by stage, now in `out`; they name the base as it is called elsewhere, not where it lay here."""
    for ref in request.adapters:
        folder, source = out / ref.stage, Path(ref.path)
        folder.mkdir()
        shutil.copyfile(source / WEIGHTS, folder / WEIGHTS)
        config = json.loads((source / CONFIG).read_text(encoding="utf-8")) | {"base_model_name_or_path": request.base_name}
        (folder / CONFIG).write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    return {ref.stage: ref.stage for ref in request.adapters}


def _script(file: Path, text: str) -> None:
    file.write_text(text, encoding="utf-8")
    file.chmod(0o755)
