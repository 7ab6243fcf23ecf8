# Dockerfile, unit and manifest: they name only what exists, and what they run serves, reloads and stops as they say, without Docker, systemd or a cluster.
import configparser
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import contextmanager

import pytest
import yaml
from conftest import LIMIT, ROOT

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

MANIFEST = ROOT / "examples" / "deploy" / "kubernetes.yaml"
UNIT = ROOT / "examples" / "deploy" / "greenroom.service"
SETTINGS_FILE = "/etc/greenroom/greenroom.toml"
KEYS_FILE = "/etc/greenroom/keys.env"
LAST_WORDS = 7.0  # seconds that a stop may take beyond draining: a last frame to clients, and the last traces
BAD_SETTINGS = "64"
DIRECTLY = urllib.request.build_opener(urllib.request.ProxyHandler({}))

SETTINGS = """
[server]
bind = "127.0.0.1:0"
[backends.one]
protocol = "openai"
base_url = "http://127.0.0.1:1/v1"
[models.first]
backends = [{ backend = "one" }]
[users.web_app]
token = "${WEB_APP_TOKEN}"
models = ["*"]
backends = ["*"]
"""


def dockerfile():
    """Its instructions with what follows them, in order; the last stage begins with the last FROM."""
    text = re.sub(r"^#.*\n", "", (ROOT / "Dockerfile").read_text(encoding="utf-8"), flags=re.MULTILINE).replace("\\\n", " ")
    return [tuple(line.split(None, 1)) for line in text.splitlines() if line.strip()]


def of_image(name):
    """What an instruction says in the last stage."""
    return [value for instruction, value in dockerfile() if instruction == name]


def unit():
    parser = configparser.ConfigParser(strict=False, interpolation=None, delimiters=("=",))
    parser.optionxform = str
    parser.read(UNIT, encoding="utf-8")
    return parser["Service"]


def manifest():
    """Its objects by kind."""
    return {part["kind"]: part for part in yaml.safe_load_all(MANIFEST.read_text(encoding="utf-8"))}


def ask(url):
    """The models that a user is shown, or None where nobody answers yet."""
    try:
        request = urllib.request.Request(f"{url}/v1/models", headers={"Authorization": "Bearer from-the-keys"})
        with DIRECTLY.open(request, timeout=LIMIT) as answer:
            return {model["id"] for model in json.load(answer)["data"]}
    except urllib.error.URLError:
        return None


def eventually(what, condition):
    until = time.monotonic() + LIMIT
    while time.monotonic() < until:
        if condition():
            return
        time.sleep(0.02)
    pytest.fail(f"never came: {what}")


@contextmanager
def service(command, env):
    """A command that serves, with nothing but this environment; yields process and address."""
    env = {"PATH": os.environ["PATH"], **env}
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            first = process.stdout.readline()
            assert first.startswith("greenroom listening on "), first
            yield process, first.split()[-1]
        finally:
            process.kill()


def parts(run, folder):
    """What the program is compiled from, as Cargo finds it there."""
    asked = ("metadata", "--locked", "--offline", "--no-deps", "--format-version", "1")
    done = run("cargo", *asked, "--manifest-path", folder / "Cargo.toml")
    assert done.returncode == 0, done.stderr
    targets = json.loads(done.stdout)["packages"][0]["targets"]
    built = [target for target in targets if set(target["kind"]) & {"lib", "bin", "custom-build"}]
    return sorted(os.path.relpath(target["src_path"], folder) for target in built)


def test_the_build_of_the_image_sees_what_the_program_is_made_of_and_nothing_else(run, tmp_path):
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    patterns = [line for line in lines if line and not line.startswith("#")]
    assert patterns[0] == "*" and all(pattern.startswith("!") for pattern in patterns[1:])
    for name in (pattern[1:] for pattern in patterns[1:]):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copyfile
        copy(ROOT / name, tmp_path / name)
    assert parts(run, tmp_path) == parts(run, ROOT)
    # As strict as a build: no target may be missing, nor the lock file. What the program needs is there, who asks has built it.
    done = run("cargo", "fetch", "--locked", "--offline", "--target", "host-tuple", "--manifest-path", tmp_path / "Cargo.toml")
    assert done.returncode == 0, done.stderr
    for source in (tmp_path / "src").rglob("*.rs"):
        if not source.name.endswith("tests.rs"):
            for name in re.findall(r'include_(?:str|bytes)!\("([^"]+)"\)', source.read_text(encoding="utf-8")):
                assert (source.parent / name).exists(), f"{source} includes {name}"


def test_the_image_is_built_by_a_compiler_that_the_program_takes_and_runs_on_the_same_debian():
    build, image = (re.match(r"(\w+):(\S+)", value).groups() for value in of_image("FROM"))
    version, debian = build[1].rsplit("-", 1)
    wanted = tomllib.loads((ROOT / "Cargo.toml").read_text(encoding="utf-8"))["package"]["rust-version"]
    assert build[0] == "rust" and [int(n) for n in version.split(".")] >= [int(n) for n in wanted.split(".")]
    assert image == ("debian", f"{debian}-slim")
    # Without a profile of just this compiler it would be built without any.
    assert (ROOT / "scripts" / "profile" / f"{version}-x86_64-unknown-linux-gnu.profdata").exists()


def test_what_the_image_runs_serves_keeps_history_in_its_volume_and_ends_at_its_stop_signal(tmp_path):
    (volume,), (port,), (user,), (stop,) = map(of_image, ("VOLUME", "EXPOSE", "USER", "STOPSIGNAL"))
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user), "an orchestrator cannot tell a name from root's"
    env = dict(value.split("=", 1) for value in of_image("ENV"))
    assert env["GREENROOM__SERVER__BIND"] == f"0.0.0.0:{port}"
    command = [word for name in ("ENTRYPOINT", "CMD") for word in json.loads(of_image(name)[0])]
    assert SETTINGS_FILE in command
    file = tmp_path / "greenroom.toml"
    # An address of nobody's: what the image says of it counts.
    file.write_text(SETTINGS.replace("127.0.0.1:0", "192.0.2.1:9"))
    command = [str(file) if word == SETTINGS_FILE else word for word in command]
    env = {name: value.replace(volume, str(tmp_path / "volume")) for name, value in env.items()}
    env.update(GREENROOM__SERVER__BIND="127.0.0.1:0", WEB_APP_TOKEN="from-the-keys")
    with service(command, env) as (process, url):
        eventually("an answer", lambda: ask(url) == {"first"})
        process.send_signal(getattr(signal, stop))
        assert process.wait(LIMIT) == 0
    assert (tmp_path / "volume" / "greenroom.db").exists()


def test_what_the_unit_runs_serves_reloads_keeps_history_in_its_directory_and_stops(tmp_path):
    service_section = unit()
    assert service_section["EnvironmentFile"] == f"-{KEYS_FILE}"
    program, *arguments = shlex.split(service_section["ExecStart"])
    assert program == "/usr/local/bin/greenroom" and SETTINGS_FILE in arguments
    file = tmp_path / "greenroom.toml"
    file.write_text(SETTINGS)
    command = ["greenroom", *(str(file) if word == SETTINGS_FILE else word for word in arguments)]
    name, value = service_section["Environment"].replace("%S", str(tmp_path)).split("=", 1)
    history = tmp_path / service_section["StateDirectory"]
    with service(command, {name: value, "WEB_APP_TOKEN": "from-the-keys"}) as (process, url):
        eventually("an answer", lambda: ask(url) == {"first"})
        file.write_text(SETTINGS + '[models.second]\nbackends = [{ backend = "one" }]\n')
        reload = service_section["ExecReload"]
        subprocess.run(["sh", "-c", reload], env={**os.environ, "MAINPID": str(process.pid)}, check=True, timeout=LIMIT)
        eventually("the new settings", lambda: ask(url) == {"first", "second"})
        process.terminate()
        assert process.wait(LIMIT) == 0
    assert (history / "greenroom.db").exists()


def test_settings_that_cannot_be_used_are_not_tried_again_and_again(run, tmp_path):
    file = tmp_path / "greenroom.toml"
    file.write_text(SETTINGS)
    done = run("greenroom", "serve", "--config", file, WEB_APP_TOKEN="")
    assert (str(done.returncode), "WEB_APP_TOKEN" in done.stderr) == (BAD_SETTINGS, True), done
    assert unit()["RestartPreventExitStatus"] == BAD_SETTINGS


@pytest.mark.parametrize("name", ["default.toml", "example.toml"])
def test_who_stops_it_waits_for_longer_than_it_drains(name):
    settings = tomllib.loads((ROOT / "settings" / name).read_text(encoding="utf-8"))["server"]
    draining = sum(float(re.fullmatch(r"(\d+)s", settings[key])[1]) for key in ("drain_settle", "drain_timeout"))
    waits = [unit()["TimeoutStopSec"]]
    for readme in ("README.md", "README.zh-CN.md"):
        waits += re.findall(r"--stop-timeout (\d+)", (ROOT / readme).read_text(encoding="utf-8"))
    assert len(waits) == 3 and all(float(wait) > draining + LAST_WORDS for wait in waits), (waits, draining)


@pytest.mark.parametrize("readme", ["README.md", "README.zh-CN.md"])
def test_what_is_told_of_the_image_is_true_of_it(readme):
    text = (ROOT / readme).read_text(encoding="utf-8")
    ports = set(re.findall(r"-p (?:[\d.]+:)?\d+:(\d+) ", text))
    places = set(re.findall(r"-v \S+?:(/[\w/]+)", text))
    assert ports == set(of_image("EXPOSE"))
    # Keys that change are in a directory of their own.
    keys = {os.path.dirname(path) for path in re.findall(r'^api_key_file = "(/[^"]+)"', text, re.M)}
    assert places == {os.path.dirname(SETTINGS_FILE), *of_image("VOLUME"), *keys}
    assert of_image("USER")[0].split(":")[0] in text and str(UNIT.relative_to(ROOT)) in text and KEYS_FILE in text
    assert {name for name in re.findall(r"--build-arg (\w+)=", text)} == {"GREENROOM_COMMIT"} <= set(of_image("ARG"))


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="there is no systemd here")
def test_systemd_knows_all_that_the_unit_says(run, tmp_path):
    copy = tmp_path / UNIT.name
    copy.write_text(UNIT.read_text(encoding="utf-8").replace("/usr/local/bin/greenroom", shutil.which("greenroom")))
    done = run("systemd-analyze", "verify", copy)
    assert (done.returncode, done.stdout + done.stderr) == (0, ""), done


def test_what_the_manifest_runs_serves_with_its_settings_keys_and_probes(tmp_path):
    parts = manifest()
    pod = parts["Deployment"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    mounts = {mount["mountPath"]: next(v for v in pod["volumes"] if v["name"] == mount["name"]) for mount in container["volumeMounts"]}
    settings = mounts.pop(os.path.dirname(SETTINGS_FILE))["configMap"]["name"]
    assert settings == parts["ConfigMap"]["metadata"]["name"]
    text = parts["ConfigMap"]["data"][os.path.basename(SETTINGS_FILE)]
    assert "emptyDir" in mounts.pop(of_image("VOLUME")[0]), "nothing else is written to"
    # What is left are the keys, each where the settings look for it.
    ((place, volume),) = mounts.items()
    keys = {os.path.join(place, item["path"]) for item in volume["secret"]["items"]}
    assert keys == set(re.findall(r'^api_key_file = "([^"]+)"', text, re.M))
    for key in keys:
        (tmp_path / os.path.basename(key)).write_text("sk-nobody\n")
    file = tmp_path / "greenroom.toml"
    file.write_text(text.replace(place, str(tmp_path)).replace("[server]", '[server]\nworkers = 1\nbind = "127.0.0.1:0"'))
    env = {variable["name"]: f"of-{variable['name']}" for variable in container["env"]}
    env.update(WEB_APP_TOKEN="from-the-keys", XDG_DATA_HOME=str(tmp_path / "history"))
    with service(["greenroom", "serve", "--config", str(file)], env) as (process, url):
        eventually("an answer", lambda: ask(url) == {"gpt-4o"})
        for probe in ("readinessProbe", "livenessProbe"):
            asked = container[probe]["httpGet"]
            assert DIRECTLY.open(url + asked["path"], timeout=LIMIT).status == 200
            assert asked["port"] == container["ports"][0]["name"]
        process.terminate()
        assert process.wait(LIMIT) == 0


def test_the_manifest_fits_the_image_and_itself():
    parts = manifest()
    pod = parts["Deployment"]["spec"]["template"]["spec"]
    (port,) = pod["containers"][0]["ports"]
    assert str(port["containerPort"]) == of_image("EXPOSE")[0]
    assert parts["Service"]["spec"]["ports"][0]["targetPort"] == port["name"]
    assert str(pod["securityContext"]["fsGroup"]) == of_image("USER")[0].split(":")[1]
    labels = parts["Deployment"]["spec"]["template"]["metadata"]["labels"]
    for selector in (parts["Service"]["spec"]["selector"], *(parts[kind]["spec"]["selector"]["matchLabels"] for kind in ("Deployment", "PodDisruptionBudget"))):
        assert selector.items() <= labels.items()
    server = tomllib.loads(parts["ConfigMap"]["data"]["greenroom.toml"])["server"]
    draining = sum(float(re.fullmatch(r"(\d+)s", server[key])[1]) for key in ("drain_settle", "drain_timeout"))
    assert pod["terminationGracePeriodSeconds"] > draining + LAST_WORDS
    # A pod is taken out of the Service before it stops taking new work.
    probe = pod["containers"][0]["readinessProbe"]
    assert probe["periodSeconds"] * probe["failureThreshold"] < float(server["drain_settle"][:-1])
    asked = {variable["valueFrom"]["secretKeyRef"]["key"] for variable in pod["containers"][0]["env"]}
    asked |= {item["key"] for volume in pod["volumes"] for item in volume.get("secret", {}).get("items", [])}
    for readme in ("README.md", "README.zh-CN.md"):
        told = re.findall(r"--from-(?:file|literal)=([\w-]+)=", (ROOT / readme).read_text(encoding="utf-8"))
        assert set(told) == asked
