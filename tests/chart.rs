//! The Helm chart, rendered by Helm's own engine and held against the published schemas of
//! Kubernetes; and the config in it, by ours.

mod support;

use std::path::{Path, PathBuf};
use std::process::Command;

use odp::config::{Config, Secret};
use serde_json::{Value, json};

use support::{fixtures_dir, scratch, skip};

/// Renders the chart with these values by Helm, validates it, and prints all of it as JSON.
const PROGRAM: &str = include_str!("support/chart.py");

fn tools() -> Option<PathBuf> {
    let clients = std::env::var_os("ODP_TEST_CLIENTS").map(PathBuf::from);
    let helm = clients.unwrap_or_else(|| fixtures_dir().join("clients")).join("helm");
    if helm.join("ready").exists() {
        return Some(helm);
    }
    skip("helm is not to be had here");
    None
}

/// Every object of the chart; or what is the matter with it.
fn rendered(tools: &Path, values: &Value) -> Result<Vec<Value>, String> {
    let dir = scratch();
    let chart = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/chart");
    let mut python = Command::new(tools.join("venv/bin/python"));
    python.current_dir(dir.path()).env("HOME", dir.path());
    python.args(["-c", PROGRAM]).arg(chart).arg(values.to_string());
    let output = python.output().expect("python runs");
    match output.status.success() {
        true => Ok(serde_json::from_slice(&output.stdout).expect("JSON")),
        false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
    }
}

fn of_kind<'o>(objects: &'o [Value], kind: &str) -> Vec<&'o Value> {
    objects.iter().filter(|object| object["kind"] == kind).collect()
}

/// The config of its proxies.
fn config(objects: &[Value]) -> Config {
    let secret = of_kind(objects, "Secret")[0];
    let text = secret["stringData"]["odp.toml"].as_str().expect("a text");
    Config::parse(text, "odp.toml".as_ref()).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

const CLUSTERS: &str = "[[cluster]]\nname = \"main\"\n[[cluster.server]]\naddress = \"db:3306\"\n";

#[test]
fn the_chart_is_what_kubernetes_and_odp_take() {
    let Some(tools) = tools() else { return };
    let usual = json!({"adminPassword": "a \"quoted\" one\\"});
    let objects = rendered(&tools, &usual).expect("it renders, and is valid");
    let mut kinds: Vec<&str> = objects.iter().filter_map(|it| it["kind"].as_str()).collect();
    kinds.sort_unstable();
    assert_eq!(kinds, ["PodDisruptionBudget", "Secret", "Service", "Service", "StatefulSet"]);
    let config = config(&objects);
    let root = config.admin.user[0].password.as_ref().map(|it| it.reveal().to_owned());
    assert_eq!(root.as_deref(), Some("a \"quoted\" one\\"));
    assert_eq!(config.fleet.dns, "fleet-peers:2885");
    assert!(!config.fleet.is_shared());
    let pod = &of_kind(&objects, "StatefulSet")[0]["spec"]["template"];
    let odp = &pod["spec"]["containers"][0];
    let command = ["/usr/bin/odp", "supervise", "-c", "/etc/odp/odp.toml"];
    assert_eq!(odp["command"], json!(command), "it is PID 1");
    assert_eq!(odp["readinessProbe"]["httpGet"]["path"], "/readyz");
    assert_eq!(odp["lifecycle"]["preStop"]["sleep"]["seconds"], 5);
    let annotations = &pod["metadata"]["annotations"];
    assert_eq!(annotations["prometheus.io/scrape"], "true");
    assert_eq!(annotations["prometheus.io/path"], "/metrics");
    // Ports by the same numbers as the config has.
    let ports: Vec<_> = odp["ports"].as_array().expect("ports").iter().collect();
    let numbers: Vec<_> = ports.iter().filter_map(|port| port["containerPort"].as_u64()).collect();
    assert_eq!(numbers, [2883, 2884, 2885]);
    assert_eq!(annotations["prometheus.io/port"], "2884");
    // Each wait is longer than what it waits for.
    let seconds = |text: &str| text.trim_end_matches('s').parse::<u64>().expect("seconds");
    let grace = seconds(odp["args"][1].as_str().expect("a duration"));
    let drain = config.proxy.delay_exit_time.0.as_secs();
    let whole = pod["spec"]["terminationGracePeriodSeconds"].as_u64().expect("seconds");
    assert!(drain < grace && 5 + grace < whole, "{drain} {grace} {whole}");
    // What is written is on volumes, each below a directory of its own.
    for dir in [&config.proxy.run_dir, &config.proxy.state_dir] {
        let above = dir.parent().and_then(Path::to_str).expect("a directory");
        let mounts = odp["volumeMounts"].as_array().expect("mounts");
        assert!(mounts.iter().any(|mount| mount["mountPath"] == above), "{}", dir.display());
    }
    let budget = &of_kind(&objects, "PodDisruptionBudget")[0]["spec"];
    let labels = &pod["metadata"]["labels"];
    assert_eq!(
        (&budget["maxUnavailable"], &budget["selector"]["matchLabels"]),
        (&1.into(), labels)
    );
    for service in of_kind(&objects, "Service") {
        assert_eq!(&service["spec"]["selector"], labels);
    }
}

#[test]
fn what_is_set_arrives_and_what_is_missing_is_told() {
    let Some(tools) = tools() else { return };
    let values = json!({
        "adminPassword": "x",
        "clusters": CLUSTERS,
        "proxy": "workers = 2\nread_timeout = 1",
    });
    let objects = rendered(&tools, &values).expect("it renders");
    let secret = of_kind(&objects, "Secret")[0]["stringData"]["odp.toml"].as_str().expect("text");
    let error = Config::parse(secret, "x".as_ref()).expect_err("there is no read_timeout");
    assert!(error.to_string().contains("read_timeout"), "{error}");
    let values = json!({
        "adminPassword": "x",
        "clusters": CLUSTERS,
        "proxy": "workers = 2",
        "sections": "[console]\nenabled = true\nbehind_proxy = true",
        "etcd": ["http://a:2379", "http://b:2379"],
        "etcdUser": "odp",
        "etcdPassword": "a \"b\"",
        "replicas": 5,
        "storage": {"className": "fast"},
        "service": {"type": "LoadBalancer"},
    });
    let objects = rendered(&tools, &values).expect("it renders, and is valid");
    let config = config(&objects);
    assert_eq!((config.proxy.workers, config.console.enabled), (2, true));
    assert_eq!(config.fleet.etcd.len(), 2);
    assert_eq!(config.fleet.etcd_prefix, "/odp/there/fleet/");
    assert_eq!(config.fleet.etcd_user.as_deref(), Some("odp"));
    assert_eq!(config.fleet.etcd_password.as_ref().map(Secret::reveal), Some("a \"b\""));
    assert_eq!(config.cluster[0].server[0].address.to_string(), "db:3306");
    let set = &of_kind(&objects, "StatefulSet")[0]["spec"];
    assert_eq!(set["replicas"], 5);
    assert_eq!(set["volumeClaimTemplates"][0]["spec"]["storageClassName"], "fast");
    let error = rendered(&tools, &json!({})).expect_err("no password");
    assert!(error.contains("adminPassword: expected one"), "{error}");
    let own = json!({"adminPassword": "x", "files": {"odp.toml": ""}});
    let error = rendered(&tools, &own).expect_err("it has one");
    assert!(error.contains("odp.toml is made of the other values"), "{error}");
    // What no schema takes.
    let error = rendered(&tools, &json!({"adminPassword": "x", "replicas": "many"}));
    assert!(error.expect_err("a word").contains("replicas"));
}

/// Certificates and keys are files of the chart's, or of secrets that others make.
#[test]
fn what_is_secure_has_its_files() {
    let Some(tools) = tools() else { return };
    let values = json!({
        "adminPassword": "x",
        "clusters": CLUSTERS,
        "etcd": ["https://a:2379"],
        "fleet": "etcd_ca = \"etcd-ca.pem\"",
        "files": {"etcd-ca.pem": "a \"PEM\"\nof two lines\n"},
        "secrets": ["console-tls", "clients"],
        "sections": "[console]\nenabled = true\n[tls.console]\nmode = \"require\"\n\
                     certificate = \"/etc/odp-secrets/console-tls/tls.crt\"\n\
                     key = \"/etc/odp-secrets/console-tls/tls.key\"\n",
    });
    let objects = rendered(&tools, &values).expect("it renders, and is valid");
    let config = config(&objects);
    assert_eq!(config.fleet.etcd_ca.as_deref(), Some(Path::new("etcd-ca.pem")));
    let secret = &of_kind(&objects, "Secret")[0]["stringData"];
    assert_eq!(secret["etcd-ca.pem"], "a \"PEM\"\nof two lines\n");
    let pod = &of_kind(&objects, "StatefulSet")[0]["spec"]["template"]["spec"];
    let named = |list: &Value, key: &str, name: &str| {
        let all = list.as_array().expect("a list");
        all.iter().find(|it| it[key] == name).cloned().expect(name)
    };
    for name in ["console-tls", "clients"] {
        let path = format!("/etc/odp-secrets/{name}");
        let mount = named(&pod["containers"][0]["volumeMounts"], "mountPath", &path);
        let volume = mount["name"].as_str().expect("a name");
        let volume = named(&pod["volumes"], "name", volume);
        assert_eq!(volume["secret"]["secretName"], name);
    }
}
