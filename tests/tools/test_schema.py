# The schema that editors check settings files by: files that can be used pass it, and others do not.
import copy
import json
import re
import sys

import jsonschema
import pytest
from conftest import ROOT

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


@pytest.fixture
def check(run):
    """What the schema has to say against settings: the path of each fault."""
    done = run("greenroom", "schema")
    assert done.returncode == 0, done.stderr
    schema = json.loads(done.stdout)
    jsonschema.Draft7Validator.check_schema(schema)
    validator = jsonschema.Draft7Validator(schema)
    return lambda settings: [".".join(map(str, fault.absolute_path)) for fault in validator.iter_errors(settings)]


def read(name):
    return tomllib.loads((ROOT / "settings" / name).read_text(encoding="utf-8"))


def reference():
    """default.toml with the tables and keys that stand there behind a '#'."""
    text = (ROOT / "settings" / "default.toml").read_text(encoding="utf-8")
    return tomllib.loads(re.sub(r"^# (?=\[|[a-z0-9_]+ = )", "", text, flags=re.MULTILINE))


def tables(value, path=()):
    """All tables of settings, those in lists included."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    if isinstance(value, dict):
        yield path
    for key, below in inner:
        yield from tables(below, (*path, key))


def at(settings, path):
    for key in path:
        settings = settings[key]
    return settings


@pytest.mark.parametrize("name", ["default.toml", "demo.toml", "example.toml"])
def test_the_files_that_come_along_pass(check, name):
    assert check(read(name)) == []


def test_the_whole_reference_passes_and_an_unknown_key_in_any_of_its_tables_does_not(check):
    settings = reference()
    assert check(settings) == []
    # Those whose keys are names of the operator's choice.
    headers = {("traces", "headers"), ("backends", "NAME", "headers")}
    named = {("backends",), ("models",), ("users",), *headers}
    closed = [path for path in tables(settings) if path not in named]
    assert len(closed) == 14
    for path in closed:
        bad = copy.deepcopy(settings)
        at(bad, path)["a_key_of_nobodys"] = 1
        assert check(bad) == [".".join(map(str, path))]


def test_what_a_key_cannot_be_is_found_and_a_variable_may_stand_for_anything(check):
    settings = reference()
    for path in tables(settings):
        for key, value in at(settings, path).items():
            if isinstance(value, dict) or (isinstance(value, list) and value and isinstance(value[0], dict)):
                continue
            where = ".".join(map(str, (*path, key)))
            for other, is_fine in ((0.25, isinstance(value, float)), ("${SOME_VARIABLE}", True), ({}, False)):
                changed = copy.deepcopy(settings)
                at(changed, path)[key] = other
                assert (where in check(changed)) is not is_fine, (where, other)


@pytest.mark.parametrize("time", ["15s", "250ms", "1m 30s", "1h30m", "2days", "0s", "0", "${DEADLINE}"])
def test_times_are_known(check, time):
    assert check({"failover": {"deadline": time}}) == []


@pytest.mark.parametrize("time", ["soon", "15", "s", "", 15])
def test_what_is_no_time_is_found(check, time):
    assert check({"failover": {"deadline": time}}) == ["failover.deadline"]


def test_words_counts_and_a_target_without_its_backend_are_found(check):
    assert check({"defaults": {"model": {"rescue": "sometimes"}}}) == ["defaults.model.rescue"]
    assert check({"backends": {"a": {"slots": 0}}}) == ["backends.a.slots"]
    assert check({"models": {"m": {"backends": [{"model": "x"}]}}}) == ["models.m.backends.0"]
