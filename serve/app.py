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
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ray
from ray import serve
from ray.serve.config import HTTPOptions
from ray.serve.schema import ApplicationStatus

from forge.config import ForgeConfig
from forge.errors import EndpointError, EnvironmentLackError
from forge.records import Record
from serve.engine import cluster_env, engine_argv, engine_env, reachable_host
from serve.replica import VLLMOpenAI

logger = logging.getLogger(__name__)

REPLICA_CPUS = 0.1
"""Ray CPUs of a replica on a machine without GPU: serving and training take turns on the cores, so it holds few."""

Adapters = Mapping[str, Mapping[str, str]]
"""For each base, adapter folders by model id."""


class Endpoint(Record):
    """Where the bases answer; the OpenAI address of a base is its URL with `/v1`."""

    urls: dict[str, str]


def deploy(config: ForgeConfig, bases: Mapping[str, Path | str], adapters: Adapters | None = None) -> Endpoint:
    """The endpoint with each of `bases` (name to folder or hub id) and exactly these adapters, answering.

    Raises `EnvironmentLackError` when the port is taken and `EndpointError` when an engine does not start or an
    adapter cannot be loaded.
    """
    _start_serve(config)
    for name, model in bases.items():
        wanted = dict((adapters or {}).get(name, {}))
        try:
            serve.run(_application(config, name, model, wanted), name=application_name(name), route_prefix=_route(name))
        except (RuntimeError, TimeoutError) as error:
            raise EndpointError(f"the endpoint of base '{name}' did not start: {error}; its log is in Ray's session folder") from error
        _refuse_problems(name)
    return Endpoint(urls=_urls(config, bases))


def set_adapters(config: ForgeConfig, bases: Mapping[str, Path | str], adapters: Adapters) -> Endpoint:
    """The same endpoint, now with exactly these adapters; loads and unloads happen in place, under traffic."""
    return deploy(config, bases, adapters)


def healthy(bases: Mapping[str, Path | str]) -> bool:
    """Whether an application runs for each of `bases`."""
    running = serve.status().applications
    names = [application_name(name) for name in bases]
    return all(name in running and running[name].status == ApplicationStatus.RUNNING for name in names)


def shutdown(bases: Mapping[str, Path | str]) -> None:
    """End the applications of `bases`; others on the same Ray stay."""
    for name in bases:
        serve.delete(application_name(name))


def application_name(base: str) -> str:
    """Name of a base's application in Serve and in the dashboard."""
    return f"forge-{base}"


def _application(config: ForgeConfig, name: str, model: Path | str, adapters: Mapping[str, str]) -> serve.Application:
    argv = engine_argv(name, model, config.bases[name], config.serve)
    env = engine_env(config.serve, model)
    resources: dict[str, Any] = {"num_gpus": config.serve.gpus} if config.serve.gpus > 0 else {"num_cpus": REPLICA_CPUS}
    replica: Any = VLLMOpenAI
    deployment = replica.options(
        ray_actor_options={**resources, "runtime_env": {"env_vars": env}},
        user_config={"adapters": dict(adapters)},
        logging_config={"enable_access_log": False, "log_level": "WARNING"},
        # With the same version Serve applies a new user_config in place; without one every deploy is a restart.
        version=_version([*argv, config.serve.host], env, model),
        _internal=True,
    )
    return deployment.bind(argv, config.serve.host)


def _version(argv: list[str], env: Mapping[str, str], model: Path | str) -> str:
    """Changes with whatever a running engine was started from."""
    code = [path.read_text(encoding="utf-8") for path in sorted(Path(__file__).parent.glob("*.py"))]
    folder = Path(model)
    files = sorted(path for path in folder.iterdir() if path.is_file()) if folder.is_dir() else []
    stamps = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    return hashlib.sha256(json.dumps([argv, dict(env), code, stamps]).encode()).hexdigest()[:16]


def _start_serve(config: ForgeConfig) -> None:
    """Serve with its HTTP proxy at the configured address, unless it runs already."""
    if not serve.status().proxies:
        _require_free_port(config.serve.host, config.serve.port)
    serve.start(
        proxy_location="HeadOnly",
        http_options=HTTPOptions(host=config.serve.host, port=config.serve.port),
        controller_options={"runtime_env": {"env_vars": cluster_env()}},
    )


def _require_free_port(host: str, port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise EnvironmentLackError(f"port {port} on {host}: {error.strerror}; choose another with serve.port=") from error


def _refuse_problems(base: str) -> None:
    problems = serve.get_app_handle(application_name(base)).problems.remote().result(timeout_s=60)
    if problems:
        told = "; ".join(f"{name}: {why}" for name, why in sorted(problems.items()))
        raise EndpointError(f"base '{base}' serves all but {len(problems)} of its adapters: {told}")


def _urls(config: ForgeConfig, bases: Mapping[str, Path | str]) -> dict[str, str]:
    host = reachable_host(config.serve.host, ray.util.get_node_ip_address())
    return {name: f"http://{host}:{config.serve.port}{_route(name).rstrip('/')}" for name in bases}


def _route(base: str) -> str:
    """`main` answers at the root, so that any OpenAI client finds `/v1` there; the others have their name before it."""
    return "/" if base == "main" else f"/{base}"
