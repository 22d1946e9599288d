"""What `import fdf256_fast` promises, whatever was imported before."""

from __future__ import annotations

import inspect
import pickle
import subprocess
import sys

import pytest

import fdf256_fast

FUNCTIONS = ("install", "fetch", "install_sync", "fetch_sync")


@pytest.mark.parametrize("order", [FUNCTIONS, FUNCTIONS[::-1], ("fetch", "install")], ids="-then-".join)
def test_functions_are_functions_in_whatever_order_they_are_asked_for(order: tuple[str, ...]) -> None:
    # In another interpreter: here they have been asked for already.
    code = f"import fdf256_fast as f; assert all(callable(getattr(f, name)) for name in {order}), vars(f)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_every_public_name_is_there() -> None:
    for name in fdf256_fast.__all__:
        assert getattr(fdf256_fast, name) is not None


def test_every_function_can_be_sent_to_another_process() -> None:
    functions = [
        found for name in fdf256_fast.__all__ if inspect.isfunction(found := getattr(fdf256_fast, name))
    ]
    assert len(functions) > 10
    for function in functions:
        assert pickle.loads(pickle.dumps(function)) is function
