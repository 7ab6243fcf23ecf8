# The examples for Prometheus and Grafana: valid, tested rules, and no metric that the documents do not know.
import json
import re

from conftest import ROOT

MONITORING = ROOT / "examples" / "monitoring"
METRIC = re.compile(r"\bgreenroom_[a-z_]+\b")


def documented():
    """The metrics of README's table."""
    rows = [line for line in (ROOT / "README.md").read_text(encoding="utf-8").splitlines() if line.startswith("| `greenroom_")]
    return {name for row in rows for name in METRIC.findall(row.split("|")[1])}


def expressions():
    dashboard = json.loads((MONITORING / "grafana-dashboard.json").read_text(encoding="utf-8"))
    shown = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", [])]
    noted = [note["expr"] for note in dashboard["annotations"]["list"]]
    return shown + noted


def test_promtool_accepts_configuration_rules_and_their_tests(run):
    for command in (["check", "config", "prometheus.yml"], ["check", "rules", "alerts.yml"], ["test", "rules", "alerts_test.yml"]):
        done = run("promtool", *command[:-1], MONITORING / command[-1])
        assert done.returncode == 0, done


def test_every_alert_has_a_test():
    alerts = set(re.findall(r"- alert: (\w+)", (MONITORING / "alerts.yml").read_text(encoding="utf-8")))
    tested = (MONITORING / "alerts_test.yml").read_text(encoding="utf-8")
    fires = {name for name, expected in re.findall(r"alertname: (\w+)\n\s+exp_alerts:(.*)", tested) if "[]" not in expected}
    assert alerts and alerts == fires


def test_every_expression_of_the_dashboard_is_valid(run, tmp_path):
    # promtool reads no dashboards; as recording rules it can check what they ask.
    rules = []
    for number, expression in enumerate(expressions()):
        plain = expression.replace("$__rate_interval", "1m").replace("$", "")
        rules.append({"record": f"panel:{number}", "expr": plain})
    # JSON is YAML, too.
    file = tmp_path / "dashboard_rules.yml"
    file.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
    done = run("promtool", "check", "rules", file)
    assert done.returncode == 0 and f"{len(rules)} rules found" in done.stdout + done.stderr, done


def test_dashboard_and_alerts_use_documented_metrics_only():
    text = "\n".join([*expressions(), (MONITORING / "alerts.yml").read_text(encoding="utf-8")])
    used = {re.sub(r"_(bucket|sum|count)$", "", name) for name in METRIC.findall(text)}
    used.discard("greenroom_probes")
    assert len(used) > 10 and used <= documented(), used - documented()


def test_every_documented_metric_is_shown_or_alerted_on():
    text = "\n".join([*expressions(), (MONITORING / "alerts.yml").read_text(encoding="utf-8")])
    unseen = {name for name in documented() if not re.search(rf"\b{name}(_bucket)?\b", text)}
    # Which build runs and how often a reload was asked for answer questions of their own.
    known = {"greenroom_build_info", "greenroom_config_reloads_total"}
    assert unseen <= known, unseen - known


def test_panels_have_ids_of_their_own_and_do_not_overlap():
    panels = json.loads((MONITORING / "grafana-dashboard.json").read_text(encoding="utf-8"))["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken = set()
    for panel in panels:
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= 24
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not taken & cells, panel["title"]
        taken |= cells
