"""The dashboard is one by Grafana's own model, and each of its queries is one for Prometheus."""

from __future__ import annotations

import json
from pathlib import Path

import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

from tests.unit.deploy.support import (
    DASHBOARD,
    PROVISIONING,
    dashboard,
    dashboard_expressions,
    needs_promtool,
    panels,
    promtool,
)

COLUMNS = 24


def test_grafana_s_model_knows_all_that_the_dashboard_says() -> None:
    register_default_plugins()
    given = dashboard()
    understood = json.loads(json.dumps(Dashboard.from_json(given), cls=JSONEncoder))
    assert understood == given


@needs_promtool
def test_prometheus_parses_each_query(tmp_path: Path) -> None:
    expressions = dashboard_expressions()
    assert len(expressions) > 50
    rules = [{"record": f"of:panel:{index}", "expr": one} for index, one in enumerate(expressions)]
    path = tmp_path / "queries.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "queries", "rules": rules}]}))
    promtool("check", "rules", path)


def test_panels_lie_beside_each_other_and_not_on_top() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in dashboard()["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= COLUMNS, panel["title"]
        cells = {
            (place["x"] + column, place["y"] + row)
            for column in range(place["w"])
            for row in range(place["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells


def test_each_panel_has_a_title_a_unit_and_a_number_of_its_own() -> None:
    ids = [panel["id"] for panel in dashboard()["panels"]]
    assert len(set(ids)) == len(ids)
    for panel in panels():
        assert panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        assert panel["datasource"]["uid"] == "${datasource}", panel["title"]


def test_what_is_provisioned_is_there() -> None:
    (source,) = yaml.safe_load((PROVISIONING / "datasources" / "prometheus.yml").read_text())[
        "datasources"
    ]
    assert source["type"] == dashboard()["templating"]["list"][0]["query"]
    (provider,) = yaml.safe_load((PROVISIONING / "dashboards" / "hemotriage.yml").read_text())[
        "providers"
    ]
    assert provider["options"]["path"].endswith(DASHBOARD.parent.name)
