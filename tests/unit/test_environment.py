"""Options from the environment: as if they had been typed."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import click
import pytest

from fdf256_fast import status

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("module", "words", "name", "text", "values"),
    [
        ("search_user", [], "AUTHOR", "Ada Beispiel", ("Ada Beispiel",)),
        ("search_user", [], "AUTHOR", "Ada Beispiel\nBo\r\n\n", ("Ada Beispiel", "Bo")),
        ("search_user", [], "MIRROR", "/tmp/my mirror", ("/tmp/my mirror",)),
        ("fetch", ["http://x/y"], "HEADER", "A: b\nC: d e", ("A: b", "C: d e")),
        ("credits", [], "SPLIT", "train\nval", ("train", "val")),
        ("credits", [], "LICENSE", "", ()),
        # None of these has a blank in it, so that blanks may part them, too.
        ("credits", [], "SPLIT", "train val", ("train", "val")),
        ("download", [], "SPLIT", "train val", ("train", "val")),
        ("download", [], "LICENSE", "cc-by-2  cc0", ("cc-by-2", "cc0")),
        ("search_user", [], "USER_NSID", "1@N01 2@N02", ("1@N01", "2@N02")),
    ],
)
def test_a_repeatable_option_has_one_value_a_line(
    module: str,
    words: list[str],
    name: str,
    text: str,
    values: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(f"FDF256_{name}", text)
    command = getattr(importlib.import_module(f"fdf256_fast.commands.{module}"), module)
    with command.make_context(module, words) as context:
        (found,) = (
            context.params[option.name] for option in command.params if option.envvar == f"FDF256_{name}"
        )
        assert found == values


@pytest.mark.parametrize("text", ["1", "true", "t", "YES", "y", "on", " On ", "0", "false", "no", "f", ""])
def test_json_is_wanted_where_click_says_so(text: str, tmp_path: Path) -> None:
    wanted = bool(text) and click.BOOL.convert(text, None, None)
    assert (text.strip().lower() in status.TRUE) == wanted
    if text not in {"t", "y", "f"}:
        return
    done = subprocess.run(
        (sys.executable, "-m", "fdf256_fast", "extract", "none.zip"),
        env={**os.environ, "FDF256_JSON": text},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 5, done.stderr
    assert (json.loads(done.stdout)["ok"] is False) if wanted else not done.stdout


def test_a_seed_in_the_environment_is_for_whoever_takes_one(tmp_path: Path) -> None:
    catalog = tmp_path / "catalog.toml"
    catalog.write_text(
        'name = "x"\ntitle = "X"\n[[archive]]\nname = "a"\nrole = "images"\nurl = "http://127.0.0.1:9/a"\n',
        "utf-8",
    )
    command = [
        sys.executable,
        "-m",
        "fdf256_fast",
        "download",
        "out",
        "--catalog",
        "catalog.toml",
        "--retries",
        "0",
    ]
    environment = {**os.environ, "FDF256_SEED": "1"}
    ended = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 4, ended.stderr
    typed = subprocess.run(
        [*command, "--seed", "1"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert typed.returncode == 2
    assert "--sample" in typed.stderr
