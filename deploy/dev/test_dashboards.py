"""What the dashboards ask is there.

Every ClickHouse query runs on the tables as they are migrated, with the plugin's macros filled in; every metric that a
dashboard or a Prometheus rule names is one that the product serves.
"""

import json
import pathlib
import re
import unittest

from clickhouse.tests.running import Front

DEPLOY = pathlib.Path(__file__).resolve().parents[1]
# What `nuanliu migrate` puts into the files for a single server.
PLACES = {
    "{database}": "nuanliu",
    "{cluster}": "",
    "{replacing}": "ReplacingMergeTree",
    "{deduplication}": "non_replicated_deduplication_window = 1000",
    "{retention_years}": "3",
}
VARIABLES = {"kpi": "heat_per_area", "scope_kind": "enterprise", "period": "hour"}


def with_macros(sql):
    """The query as the ClickHouse plugin of Grafana sends it."""
    sql = re.sub(r"\$__timeFilter\((\w+)\)", r"\1 >= toDateTime(1700000000) AND \1 <= toDateTime(1700003600)", sql)
    sql = re.sub(r"\$__timeInterval\((\w+)\)", r"toStartOfInterval(toDateTime(\1), INTERVAL 60 second)", sql)
    sql = sql.replace("$__fromTime", "toDateTime(1700000000)").replace("$__toTime", "toDateTime(1700003600)")
    for name, value in VARIABLES.items():
        sql = sql.replace("${" + name + "}", value)
    return sql


def targets(dashboard, field):
    for panel in dashboard["panels"]:
        for target in panel["targets"]:
            if field in target:
                yield panel["title"], target[field]


def queries(dashboard):
    yield from targets(dashboard, "rawSql")
    for variable in dashboard["templating"]["list"]:
        yield variable["name"], variable["query"]


class Dashboards(unittest.TestCase):
    def test_queries_run(self):
        front = Front()
        self.addCleanup(front.close)
        front.run("CREATE DATABASE nuanliu")
        for file in sorted((DEPLOY / "clickhouse").glob("*.sql")):
            text = file.read_text()
            for place, value in PLACES.items():
                text = text.replace(place, value)
            for statement in re.split(r";\s*(?:\n|$)", text):
                if re.sub(r"--[^\n]*", "", statement).strip():
                    front.run(None, statement.encode())
        for file in (DEPLOY / "grafana/dashboards").glob("*.json"):
            for title, sql in queries(json.loads(file.read_text())):
                with self.subTest(dashboard=file.name, query=title):
                    sql = with_macros(sql)
                    self.assertNotIn("$", sql)
                    front.run(sql, readonly="2")

    def test_metrics_are_served(self):
        sources = "".join(file.read_text() for file in sorted(DEPLOY.parent.glob("*/src/**/*.rs")))
        served = set(re.findall(r'"(nuanliu_\w+)"', sources))
        rules = (DEPLOY / "prometheus/rules.yml").read_text()
        expressions = [("rules.yml", expression) for expression in re.findall(r"expr: (.*)", rules)]
        for file in sorted((DEPLOY / "grafana/dashboards").glob("*.json")):
            expressions.extend(targets(json.loads(file.read_text()), "expr"))
        names = {(title, name) for title, text in expressions for name in re.findall(r"\bnuanliu_\w+", text)}
        self.assertGreater(len(names), 10)
        for title, name in sorted(names):
            with self.subTest(panel=title, metric=name):
                self.assertIn(re.sub(r"_(bucket|count|sum)$", "", name), served)


if __name__ == "__main__":
    unittest.main()
