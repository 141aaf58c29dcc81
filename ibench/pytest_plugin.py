"""For pytest: the fixture `ibench_run` holds an encoder to the baseline that ``--ibench-baseline`` names.

pytest loads this in every session of an environment that has ibench; what is slow is imported by the fixture.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from ibench.encoders import Encoder
    from ibench.gate import Gate

OPTIONS = {
    "--ibench-baseline": "the accepted baseline (main.json), or a folder of records",
    "--ibench-policy": "a policy file; see `ibench check`",
    "--ibench-data-root": "the folder that holds the data sets' folders (or set IBENCH_DATA)",
}
STRICT = "--ibench-strict"


def pytest_addoption(parser: pytest.Parser) -> None:
    """The options of the plugin."""
    group = parser.getgroup("ibench", "regressions of encoders")
    for option, told in OPTIONS.items():
        group.addoption(option, help=told)
    group.addoption(STRICT, action="store_true", help="also fail where the data is too little to tell")


@pytest.fixture
def ibench_run(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[..., Gate]:
    """A function that runs an encoder on the baseline's tasks, as `ibench.check` does; the test fails if it is worse.

    It takes what ``--ckpt`` takes, or a live encoder, and the arguments of `ibench.check`; it returns the gate. Without
    ``--ibench-baseline`` the test is skipped.
    """
    baseline, policy, data_root = (request.config.getoption(option) for option in OPTIONS)
    strict = bool(request.config.getoption(STRICT))
    if not baseline:
        pytest.skip("give --ibench-baseline")

    def run(encoder: str | Path | Encoder, **options: Any) -> Gate:
        from ibench.report.gate import gate_table
        from ibench.rerun import check

        gate = check(
            baseline, encoder=encoder, **{"policy": policy, "data_root": data_root, "out": tmp_path, **options}
        )
        request.node.user_properties.append(("ibench", str(gate.state)))
        if gate.exit_code(strict):
            pytest.fail(f"ibench check: {gate.state}\n{gate_table(gate)}", pytrace=False)
        if gate.exit_code(strict=True):
            warnings.warn(f"ibench check is inconclusive:\n{gate_table(gate)}", stacklevel=2)
        return gate

    return run
