"""Starting, updating and ending the endpoint on a running Ray, from a driver or a job.

The application outlives the driver that deployed it: a second run finds it healthy and goes on in seconds. It is
replaced only when what it was started from (command line, environment, files of the base, this code) has changed;
a change of adapters alone is applied in place, on every replica, under traffic.
"""

from __future__ import annotations

import hashlib
import json
import logging
import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import ray
from ray import serve
from ray.exceptions import RayError
from ray.serve.config import HTTPOptions
from ray.serve.schema import ApplicationStatus

from forge.config import ForgeConfig
from forge.errors import EndpointError, EnvironmentLackError
from forge.records import Record
from forge.store.keys import OWN, ApiKey, KeyFile, hashed
from serve.engine import cluster_env, engine_argv, engine_env, reachable_host
from serve.llama.material import Material
from serve.llama.server import StartLlama
from serve.names import Names, Version
from serve.pick import Engine, pick
from serve.quantised import method_of, require_kernel
from serve.questions import Agent
from serve.replica import Replica
from serve.scaling import scaling
from serve.seam import Start
from serve.solve_chat import MODEL
from serve.solving import Solving
from serve.starts import StartVLLM

logger = logging.getLogger(__name__)

REPLICA_CPUS = 0.1
"""Ray CPUs of a replica on a machine without GPU: serving and training take turns on the cores, so it holds few."""

AGENT, AGENT_ROUTE = "forge-agent", "/v1/solve"
"""The agent's application and where it answers."""

Adapters = Mapping[str, Mapping[str, str]]
"""For each base, adapter folders by model id."""

Converts = Callable[[Path], Material]
"""Makes of a base's folder what llama.cpp is served from."""


class Endpoint(Record):
    """Where the bases answer; the OpenAI address of a base is its URL with `/v1`."""

    urls: dict[str, str]


AGENT_CPUS = 0.1
"""Ray CPUs of the agent's replica: it mostly waits for the engine and for boxes."""


class Catalogue(Record):
    """What has a name beside the bases: every version there is by exact id, and the promoted one of each stage."""

    versions: dict[str, Version] = {}
    promoted: dict[str, str] = {}


def deploy(
    config: ForgeConfig,
    bases: Mapping[str, Path | str],
    adapters: Adapters | None = None,
    catalogue: Catalogue | None = None,
    *,
    asleep: bool = False,
    agent: bool = False,
    gguf: Converts | None = None,
) -> Endpoint:
    """The endpoint with each of `bases` (name to folder or hub id) and exactly these adapters loaded, answering.

    Versions of the catalogue that are not among them are loaded when they are first asked for. `asleep` lends the card: engines
    give up its memory, and requests wait or are told to come again. `agent` gives the agent that `deploy_agent` starts a name.
    `gguf` is needed where the engine is llama.cpp.

    Raises `EnvironmentLackError` when the port is taken and `EndpointError` when an engine does not start or an
    adapter cannot be loaded.
    """
    _start_serve(config)
    for name in bases:
        made = application(config, bases, name, adapters or {}, catalogue or Catalogue(), asleep=asleep, agent=agent, gguf=gguf)
        try:
            serve.run(made, name=application_name(name), route_prefix=_route(name))
        except (RuntimeError, TimeoutError) as error:
            raise EndpointError(f"the endpoint of base '{name}' did not start: {error}; its log is in Ray's session folder") from error
        _refuse_problems(name)
    return Endpoint(urls=_urls(config, bases))


def application(
    config: ForgeConfig,
    bases: Mapping[str, Path | str],
    name: str,
    adapters: Adapters,
    catalogue: Catalogue,
    *,
    asleep: bool = False,
    agent: bool = False,
    gguf: Converts | None = None,
) -> serve.Application:
    """The application of one base, as `deploy` runs it. Raises a `ForgeError` when its engine is not here, or cannot take the base."""
    own = dict(adapters.get(name, {}))
    urls = _urls(config, bases) | ({MODEL: _address(config) + AGENT_ROUTE} if agent else {})
    names = Names(own=name, bases=urls, versions=catalogue.versions, promoted=catalogue.promoted, adapters=own, asleep=asleep)
    user_config = {"names": names.model_dump(mode="json"), "keys": [key.model_dump(mode="json") for key in _keys(config)]}
    share = share_of(config, name, len(bases))
    start, env = _start(config, name, bases[name], share, gguf)
    return _application(config, name, bases[name], share, user_config, start, env)


def deploy_agent(config: ForgeConfig, make: Callable[[], Agent], folder: Path) -> str:
    """The address of the agent, made in its replica by `make`; what it was asked is kept in `folder`.

    Raises `EndpointError` when it does not start.
    """
    _start_serve(config)
    replica: Any = Solving
    deployment = replica.options(
        ray_actor_options={"num_cpus": AGENT_CPUS},
        user_config={"keys": [key.model_dump(mode="json") for key in _keys(config)]},
        logging_config={"enable_access_log": False, "log_level": "WARNING"},
        version=_version([config.serve.model_dump_json(), repr(make)], {}, folder),
        _internal=True,
    )
    try:
        serve.run(deployment.bind(make, config.serve.model_dump(mode="json"), str(folder)), name=AGENT, route_prefix=AGENT_ROUTE)
    except (RuntimeError, TimeoutError) as error:
        raise EndpointError(f"the agent did not start: {error}; its log is in Ray's session folder") from error
    return _address(config) + AGENT_ROUTE


def _keys(config: ForgeConfig) -> list[ApiKey]:
    """The keys of the configured file and forge's own, so that an empty file lets nobody else in; none when no file is named."""
    if not config.serve.keys:
        return []
    file = KeyFile(Path(config.serve.keys))
    return [*file.read(), ApiKey(name=OWN, sha256=hashed(file.own()), scopes=("admin",))]


def healthy(bases: Mapping[str, Path | str]) -> bool:
    """Whether an application runs for each of `bases`."""
    running = serve.status().applications
    names = [application_name(name) for name in bases]
    return all(name in running and running[name].status == ApplicationStatus.RUNNING for name in names)


def shutdown(bases: Mapping[str, Path | str]) -> None:
    """End the applications of `bases` and the agent; others on the same Ray stay."""
    for name in (AGENT, *(application_name(name) for name in bases)):
        if name in serve.status().applications:
            serve.delete(name)


def application_name(base: str) -> str:
    """Name of a base's application in Serve and in the dashboard."""
    return f"forge-{base}"


def share_of(config: ForgeConfig, name: str, bases: int) -> float:
    """The share of `serve.gpus` and of its memory that a base has: its own, or an equal one."""
    return config.bases[name].serve_share or 1.0 / bases


def _start(config: ForgeConfig, name: str, model: Path | str, share: float, gguf: Converts | None) -> tuple[Start, dict[str, str]]:
    """How the engine of a base is started, and in which environment."""
    engine: Engine = pick(config.serve)
    if engine == "vllm":
        served = config.bases[name].served_weights
        if served:
            method = method_of(served, model)
            if config.serve.gpus <= 0:
                require_kernel(method)
        return StartVLLM(tuple(engine_argv(name, model, config.bases[name], config.serve, share))), engine_env(
            config.serve, served or model
        )
    if config.bases[name].served_weights:
        raise EnvironmentLackError(f"bases.{name}.served_weights is for vLLM, which is not installed here; leave it out, or run make env")
    if gguf is None:
        raise ValueError("llama.cpp is served from GGUF files; say what makes them")
    material = gguf(Path(model))
    material.weights()  # here, so that a base that cannot be converted is said at once
    return StartLlama(name, str(model), config.bases[name], config.serve, material), {}


def _application(
    config: ForgeConfig, name: str, model: Path | str, share: float, user_config: Mapping[str, Any], start: Start, env: Mapping[str, str]
) -> serve.Application:
    gpus = config.serve.gpus * share
    resources: dict[str, Any] = {"num_gpus": round(gpus, 4)} if gpus > 0 else {"num_cpus": REPLICA_CPUS}
    replica: Any = Replica
    deployment = replica.options(
        ray_actor_options={**resources, "runtime_env": {"env_vars": dict(env)}},
        user_config=dict(user_config),
        logging_config={"enable_access_log": False, "log_level": "WARNING"},
        # With the same version Serve applies a new user_config in place; without one every deploy is a restart.
        version=_version([repr(start), config.serve.model_dump_json()], env, config.bases[name].served_weights or model),
        _internal=True,
        **scaling(config.serve.replicas),
    )
    return deployment.bind(name, start, config.serve.model_dump(mode="json"))


def _version(started: list[str], env: Mapping[str, str], model: Path | str) -> str:
    """Changes with whatever a running engine was started from."""
    code = [path.read_text(encoding="utf-8") for path in sorted(Path(__file__).parent.rglob("*.py"))]
    folder = Path(model)
    files = sorted(path for path in folder.iterdir() if path.is_file()) if folder.is_dir() else []
    stamps = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    return hashlib.sha256(json.dumps([started, dict(env), code, stamps]).encode()).hexdigest()[:16]


def _start_serve(config: ForgeConfig) -> None:
    """Serve with its HTTP proxy at the configured address, unless it runs already."""
    if not serve.status().proxies:
        _require_free_port(config.serve.host, config.serve.port)
    try:
        serve.start(
            proxy_location="HeadOnly",
            http_options=HTTPOptions(host=config.serve.host, port=config.serve.port),
            controller_options={"runtime_env": {"env_vars": cluster_env()}},
        )
    except (RayError, TimeoutError) as error:  # Ray ends a proxy that is not ready within a minute
        said = str(error).splitlines()[0]
        raise EndpointError(f"Ray Serve's proxy did not start: {said}; the machine may be too busy, so try again") from error


def _require_free_port(host: str, port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise EnvironmentLackError(f"port {port} on {host}: {error.strerror}; choose another with serve.port=") from error


def _refuse_problems(base: str) -> None:
    handle = serve.get_app_handle(application_name(base))
    try:
        problems = handle.problems.remote().result(timeout_s=60)
    finally:
        handle.shutdown()  # of several replicas it goes on to tell Serve of its load, and where Ray has ended it starts another one
    if problems:
        told = "; ".join(f"{name}: {why}" for name, why in sorted(problems.items()))
        raise EndpointError(f"base '{base}' serves all but {len(problems)} of its adapters: {told}")


def _urls(config: ForgeConfig, bases: Mapping[str, Path | str]) -> dict[str, str]:
    return {name: _address(config) + _route(name).rstrip("/") for name in bases}


def _address(config: ForgeConfig) -> str:
    return f"http://{reachable_host(config.serve.host, ray.util.get_node_ip_address())}:{config.serve.port}"


def _route(base: str) -> str:
    """`main` answers at the root, so that any OpenAI client finds `/v1` there; the others have their name before it."""
    return "/" if base == "main" else f"/{base}"
