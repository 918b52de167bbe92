"""Tiers by folder, and the rule that a tier which must run is never skipped.

A test's tier is the folder under tests/ that it lies in. `FORGE_REQUIRE_TIERS=unit,ray,docker` (CI sets it)
turns a skip in one of these tiers into a failure and fails a whole session in which such a tier ran no test.
"""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

TIERS = ("unit", "contract", "ray", "docker", "vllm", "unsloth", "llama", "gpu")
ROOT = Path(__file__).parent
RAN: Counter[str] = Counter()

settings.register_profile("forge", deadline=None, max_examples=50, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("forge")


def required_tiers() -> set[str]:
    names = {name.strip() for name in os.environ.get("FORGE_REQUIRE_TIERS", "").split(",") if name.strip()}
    unknown = names - set(TIERS)
    if unknown:
        raise pytest.UsageError(f"FORGE_REQUIRE_TIERS names {sorted(unknown)}; the tiers are {', '.join(TIERS)}")
    return names


def tier_of(path: Path) -> str:
    parts = path.relative_to(ROOT).parts
    return parts[0] if len(parts) > 1 and parts[0] in TIERS else ""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    required_tiers()
    for item in items:
        if ROOT in item.path.parents and (tier := tier_of(item.path)):
            item.add_marker(getattr(pytest.mark, tier))


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]):  # type: ignore[no-untyped-def]
    outcome = yield
    report = outcome.get_result()
    tier = tier_of(item.path) if ROOT in item.path.parents else ""
    if report.skipped and not hasattr(report, "wasxfail") and tier in required_tiers():
        report.outcome = "failed"
        report.longrepr = f"the tier '{tier}' must run here, but this was skipped: {call.excinfo.value if call.excinfo else ''}"
    if report.when == "call" and report.passed:
        RAN[tier] += 1


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    idle = sorted(tier for tier in required_tiers() if not RAN[tier])
    chosen = session.config.option.collectonly or session.config.args != session.config.getini("testpaths")
    if exitstatus == pytest.ExitCode.OK and idle and not chosen:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
        reporter = session.config.pluginmanager.get_plugin("terminalreporter")
        if reporter is not None:
            reporter.write_line(f"FAILED: FORGE_REQUIRE_TIERS asks for {', '.join(idle)}, but none of its tests ran", red=True)


@pytest.hookimpl(hookwrapper=True)
def pytest_make_collect_report(collector: pytest.Collector):  # type: ignore[no-untyped-def]
    outcome = yield
    report = outcome.get_result()
    path = getattr(collector, "path", None)
    if report.skipped and path is not None and ROOT in path.parents and tier_of(path) in required_tiers():
        report.outcome = "failed"
        report.longrepr = f"the tier '{tier_of(path)}' must run here, but {path.name} was skipped as a module: {report.longrepr}"
