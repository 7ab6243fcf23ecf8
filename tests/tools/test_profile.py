# Release builds: what Cargo asks the compiler for goes there unchanged, with the profile where one fits, and never fails for want of one.
import os
import re
import shutil
import subprocess
import sys

import pytest
from conftest import LIMIT, ROOT

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

WRAPPER = ROOT / ".cargo" / "config.toml"
FULLY = ["--crate-name", "two words", "-C", "opt-level=3", "-C", "codegen-units=1"]
COMPILER = """#!/bin/sh
if [ "$1" = -vV ]; then
  printf '%s\\n' 'rustc {release} (59807616e 2026-04-14)' 'binary: rustc' 'host: {host}' 'release: {release}' 'LLVM version: 22.1.2'
  exit
fi
printf '%s\\n' "$@"
"""


@pytest.fixture
def checkout(tmp_path):
    """A copy of what release builds are made by, in a folder whose name has a space, and the profiles that are there."""
    root = tmp_path / "a checkout"
    (root / "scripts").mkdir(parents=True)
    named = tomllib.loads(WRAPPER.read_text(encoding="utf-8"))["build"]["rustc-wrapper"]
    shutil.copy(ROOT / named, root / named)
    shutil.copytree(ROOT / "scripts" / "profile", root / "scripts" / "profile")
    return root / named, sorted((root / "scripts" / "profile").iterdir())


def compiled(checkout, release, host, *arguments):
    """What a compiler of that version is called with."""
    wrapper, _ = checkout
    compiler = wrapper.parent / "a compiler"
    compiler.write_text(COMPILER.format(release=release, host=host), encoding="utf-8")
    compiler.chmod(0o755)
    done = subprocess.run([wrapper, compiler, *arguments], capture_output=True, text=True, timeout=LIMIT, check=True)
    return done.stdout.splitlines()


def of(profile):
    """The compiler's version and host in a profile's name."""
    return re.fullmatch(r"(\d+\.\d+\.\d+)-(.+)\.profdata", profile.name).groups()


def test_a_release_build_goes_by_the_profile_of_its_compiler(checkout):
    for profile in checkout[1]:
        said = compiled(checkout, *of(profile), *FULLY)
        assert said[: len(FULLY)] == FULLY
        assert f"-Cprofile-use={profile}" in said[len(FULLY) :]
        # LLVM names the file's kind in its first bytes, the first one as a byte beyond ASCII.
        assert profile.read_bytes()[1:8] == b"lprofi\x81"


def test_a_compiler_without_a_profile_builds_as_if_there_were_none(checkout):
    release, host = of(checkout[1][0])
    for other in [("1.0.0", host), (release, "riscv64gc-unknown-linux-gnu")]:
        assert compiled(checkout, *other, *FULLY) == FULLY


def test_what_is_not_fully_optimised_is_built_as_cargo_says(checkout):
    plain = ["--crate-name", "two words", "-C", "debuginfo=line-tables-only"]
    assert compiled(checkout, *of(checkout[1][0]), *plain) == plain


def test_the_compiler_that_cargo_asks_about_itself_is_the_one_that_answers(checkout):
    wrapper, _ = checkout
    rustc = os.environ.get("RUSTC", "rustc")
    asked = subprocess.run([wrapper, rustc, "-vV"], capture_output=True, text=True, timeout=LIMIT, check=True).stdout
    assert asked == subprocess.run([rustc, "-vV"], capture_output=True, text=True, timeout=LIMIT, check=True).stdout
