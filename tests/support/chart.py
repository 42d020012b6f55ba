# Renders a chart by Helm's own engine: chart.py DIR VALUES (JSON). Prints its objects as JSON.
# What Helm's linter has to say, or a schema of Kubernetes, ends it.
import json
import sys

import helm_python as helm
import kubernetes_validate
import yaml

# The oldest that the chart takes, and the newest that is known.
VERSIONS = ["1.30", kubernetes_validate.latest_version()]


def main(path, values):
    values = json.loads(values)
    with helm.Chart.load(path) as chart:
        rendered = chart.render(values, name="fleet", namespace="there", is_install=True)
    report = helm.lint(path, values, strict=True, namespace="there", kube_version="v1.30.0")
    found = [it["error"] for it in report["messages"] if it["severity"] > 1] + report["errors"]
    if found:
        sys.exit("lint: " + "; ".join(map(str, found)))
    objects = []
    for name, text in sorted(rendered.items()):
        if name.endswith("NOTES.txt"):
            assert "odp restart --fleet" in text, text
            continue
        objects += [it for it in yaml.safe_load_all(text) if it is not None]
    for version in VERSIONS:
        for it in objects:
            try:
                kubernetes_validate.validate(it, version, strict=True)
            except kubernetes_validate.ValidationError as error:
                place = ".".join(map(str, error.path))
                sys.exit(f"{version}: {it['kind']} {place}: {error.message}")
    json.dump(objects, sys.stdout)


main(*sys.argv[1:])
