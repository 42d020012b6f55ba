//! The config file that is shipped shows every parameter, with its default, under a comment.

use odp::config::{ClusterSection, Config, ServerSection};

const FILE: &str = include_str!("../config/odp.toml");
const UNIT: &str = include_str!("../config/odp.service");

#[test]
fn the_shipped_config_is_the_default() {
    let shipped = Config::parse(FILE, "config/odp.toml".as_ref()).expect("it is valid");
    let address = "127.0.0.1:3306".parse().expect("an address");
    let server = vec![ServerSection::new(address)];
    let cluster = ClusterSection { name: "main".into(), server, ..ClusterSection::default() };
    let default = Config { cluster: vec![cluster], ..Config::default() };
    assert_eq!(shipped, default);
}

/// What `crash_protection` needs of systemd.
#[test]
fn the_shipped_unit_lets_either_process_of_a_pair_outlive_the_other() {
    let values = |key: &str| -> Vec<&str> {
        let lines = UNIT.lines().filter_map(|line| line.split_once('='));
        lines.filter(|(name, _)| *name == key).flat_map(|(_, it)| it.split(' ')).collect()
    };
    for (key, value) in [
        ("Type", "notify"),
        ("NotifyAccess", "all"),
        ("OOMPolicy", "continue"),
        ("ExitType", "cgroup"),
        ("Restart", "on-failure"),
        ("LimitMEMLOCK", "64M"),
    ] {
        assert_eq!(values(key), [value], "{key}");
    }
    // A death that is a failure would end the unit with the next reload; one that is none is to be
    // followed by a start if nobody is left.
    let deaths = values("SuccessExitStatus");
    assert!(deaths.contains(&"SIGKILL"), "{deaths:?}");
    assert_eq!(deaths, values("RestartForceExitStatus"));
    assert_eq!(values("SystemCallFilter"), ["@system-service", "memfd_secret"]);
}

#[test]
fn the_shipped_config_names_every_key() {
    let default = toml::Table::try_from(Config::default()).expect("a config is a table");
    let shipped: toml::Table = toml::from_str(FILE).expect("it is valid");
    let mut sections = 0;
    for (section, keys) in &default {
        // Lists of tables are empty by default and shown as comments.
        let Some(keys) = keys.as_table() else { continue };
        sections += 1;
        for key in keys.keys().filter(|key| !["user", "token"].contains(&key.as_str())) {
            assert!(shipped[section].get(key).is_some(), "{section}.{key} is missing");
        }
    }
    assert!(sections >= 4, "only {sections} sections were looked at");
    let cluster = toml::Table::try_from(ClusterSection::default()).expect("a table");
    let shipped_cluster = &shipped["cluster"][0];
    let lists = ["user", "tenant"];
    for key in cluster.keys().filter(|key| !lists.contains(&key.as_str())) {
        assert!(shipped_cluster.get(key).is_some(), "cluster.{key} is missing");
    }
    let server =
        ServerSection { draining: true, ..ServerSection::new("h:1".parse().expect("one")) };
    for key in toml::Table::try_from(server).expect("a table").keys() {
        assert!(shipped_cluster["server"][0].get(key).is_some(), "cluster.server.{key} is missing");
    }
}

#[test]
fn what_the_shipped_config_shows_in_comments_can_be_written() {
    let mut text = String::new();
    for line in FILE.lines() {
        let shown = line.strip_prefix("# ").unwrap_or(line);
        let is_table = shown.starts_with("[[") && shown.ends_with("]]");
        let is_key = shown.split_once(" = ").is_some_and(|(key, _)| {
            key.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
        });
        // Files that are alternatives, or not there.
        let is_left = ["service_password", "certificate", "key ", "ca "]
            .iter()
            .any(|key| shown.starts_with(key));
        if is_table || is_key && !is_left || line.starts_with('[') {
            text.push_str(&format!("{shown}\n"));
        }
    }
    let config =
        Config::parse(&text, "f.toml".as_ref()).unwrap_or_else(|it| panic!("{it}\n{text}"));
    let cluster = config.main_cluster();
    assert_eq!((cluster.user.len(), cluster.tenant.len(), cluster.server.len()), (1, 1, 1));
    assert_eq!((config.white_list.rows().len(), config.admin.user.len()), (1, 1));
    assert_eq!(config.admin.token.len(), 1);
    assert_eq!(cluster.tenant[0].user.account("ann", "shop"), "shop_ann");
}

#[test]
fn every_key_stands_under_a_comment() {
    let mut commented = false;
    for (number, line) in FILE.lines().enumerate() {
        match line.trim_start().chars().next() {
            Some('#') => commented = true,
            Some('[') | None => commented = false,
            // A run of keys may share one comment.
            Some(_) => assert!(commented || line.starts_with("name"), "line {}", number + 1),
        }
    }
}

#[test]
fn mistakes_are_named_with_line_column_and_what_was_expected() {
    let cluster = "[[cluster]]\nname = 'a'\n[[cluster.server]]\naddress = 'h:1'\n";
    let table = [
        ("[proxy]\nlisten_to = 1\n", &["line 2", "unknown field", "listen_to"][..]),
        ("[proxy]\nlisten = ['localhost:1']\n", &["line 2", "localhost:1", "expected IP:PORT"]),
        ("[proxy]\nlogin_timeout = 'soon'\n", &["line 2", "soon", "expected a duration"]),
        ("[proxy]\nhot_upgrade_exit_timeout = -2\n", &["-2", "expected a duration, 0 or -1"]),
        ("[proxy]\nclient_max_connections = 0\n", &["client_max_connections", "1 or more"]),
        ("[proxy]\nlisten = []\n", &["listen", "at least one address"]),
        ("[admin]\nlisten = '127.0.0.1:2883'\n", &["127.0.0.1:2883", "given twice"]),
        ("[[admin.user]]\nname = 'a'\nrole = 'boss'\n", &["line 3", "boss", "manager"]),
        ("[[admin.user]]\nname = 'a'\nrole = 'viewer'\n", &["'a'", "exactly one of password"]),
        ("[log]\nlevel = 'loud'\n", &["line 2", "loud", "debug"]),
        ("[proxy\n", &["line 1"]),
    ];
    for (text, parts) in table {
        let error = Config::parse(&format!("{text}{cluster}"), "f.toml".as_ref());
        let error = error.expect_err(text).to_string();
        for part in ["f.toml"].iter().chain(parts) {
            assert!(error.contains(part), "{text}: '{part}' is not in: {error}");
        }
    }
}

#[test]
fn secrets_are_not_shown() {
    let text = "[[admin.user]]\nname = 'a'\nrole = 'viewer'\npassword = 'hush'\n\
                [[cluster]]\nname = 'a'\nservice_user = 's'\nservice_password = 'hush'\n\
                [[cluster.user]]\nname = 'u'\npassword = 'hush'\n\
                [[cluster.server]]\naddress = 'h:1'\n";
    let config = Config::parse(text, "f.toml".as_ref()).expect("a config");
    let shown = format!("{config:?} {}", toml::to_string(&config).expect("it is a table"));
    assert!(!shown.contains("hush"), "{shown}");
}

/// Runs `odp check`, or `odp run`, with a config: exit code and what it said.
fn odp(command: &str, text: &str) -> (Option<i32>, String) {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("f.toml");
    let run_dir = dir.path().join("run").display().to_string();
    std::fs::write(&path, text.replace("RUN_DIR", &run_dir)).expect("ours");
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_odp"))
        .args([command, "-c", "f.toml"])
        .current_dir(dir.path())
        .output()
        .expect("odp runs");
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

const CLUSTER: &str = "[[cluster]]\nname = 'a'\n[[cluster.server]]\naddress = 'h:1'\n";

#[test]
fn check_and_run_print_every_mistake_on_a_line_of_its_own() {
    let text = format!(
        "[proxy]\nlogin_timeout = 5\nlistn = []\nworkers = 5000\n[log]\nlevel = 'wran'\n\
         [htttp]\n{CLUSTER}"
    );
    let expected = [
        "line 2, column 17: proxy.login_timeout: invalid type: integer `5`, expected a duration \
         such as \"30s\" or \"100ms\"",
        "line 3, column 1: proxy: unknown field `listn`, did you mean `listen`?",
        "line 4, column 11: proxy.workers = 5000: expected 0 to 1024",
        "line 6, column 9: log.level: unknown variant `wran`, expected one of `error`, `warn`, \
         `info`, `debug`, `trace`; did you mean `warn`?",
        "line 7, column 2: unknown field `htttp`, did you mean `http`?",
    ];
    let expected = expected.map(|line| format!("odp: config f.toml: {line}\n")).concat();
    for command in ["check", "run"] {
        assert_eq!(odp(command, &text), (Some(1), expected.clone()), "{command}");
    }
}

#[test]
fn check_names_every_file_that_cannot_be_used() {
    let text = format!(
        "[proxy]\nrun_dir = '/nowhere/at/all'\n\
         [tls.client]\nmode = 'prefer'\ncertificate = '/none/c'\nkey = '/none/k'\n\
         [tls.server]\nmode = 'verify-ca'\nca = '/none/ca'\n[fleet]\nca = '/none/fleet'\n\
         [[fleet.proxy]]\nname = 'a'\naddress = 'h:1'\n\
         [[fleet.proxy]]\nname = 'b'\naddress = 'h:2'\nca = '/none/b'\n{CLUSTER}"
    );
    let missing = "No such file or directory (os error 2)";
    let expected = [
        "line 2, column 11: proxy.run_dir = \"/nowhere/at/all\": expected to be able to write in \
         /nowhere/at: ENOENT: No such file or directory"
            .to_owned(),
        format!("line 5, column 15: tls.client.certificate /none/c: {missing}"),
        format!("line 6, column 7: tls.client.key /none/k: {missing}"),
        format!("line 9, column 6: tls.server.ca /none/ca: {missing}"),
        format!("line 11, column 6: fleet.ca /none/fleet: {missing}"),
        format!("line 18, column 6: fleet.proxy.ca /none/b: {missing}"),
    ];
    let expected = expected.map(|line| format!("odp: config f.toml: {line}\n")).concat();
    assert_eq!(odp("check", &text), (Some(1), expected));
}

#[test]
fn check_names_files_and_own_listeners_beside_other_mistakes() {
    let text = "[proxy]\nrun_dir = 'RUN_DIR'\nlisten = ['127.0.0.1:2883']\nlogin_timout = '5s'\n\
                [admin]\nlisten = '127.0.0.1:2885'\n\
                [tls.server]\nmode = 'verify-ca'\nca = '/none/ca'\n\
                [[cluster]]\nname = 'a'\n[[cluster.server]]\naddress = '127.0.0.1:2883'\n\
                [[cluster.server]]\naddress = '127.0.0.1:3306'\n\
                [[cluster.server]]\naddress = '127.0.0.1:2885'\n";
    let expected = [
        "line 4, column 1: proxy: unknown field `login_timout`, did you mean `login_timeout`?",
        "line 9, column 6: tls.server.ca /none/ca: No such file or directory (os error 2)",
        "line 13, column 11: cluster 'a': server 127.0.0.1:2883: the proxy itself listens there, \
         on 127.0.0.1:2883",
        "line 17, column 11: cluster 'a': server 127.0.0.1:2885: the proxy itself listens there, \
         on 127.0.0.1:2885",
    ];
    let expected = expected.map(|line| format!("odp: config f.toml: {line}\n")).concat();
    assert_eq!(odp("check", text), (Some(1), expected));
    // What is the default when it was meant otherwise is no mistake of its own.
    let text = text.replace("listen = ['127.0.0.1:2883']", "listen = '127.0.0.1:2999'");
    let (code, said) = odp("check", &text);
    assert_eq!((code, said.lines().count()), (Some(1), 4), "{said}");
    assert!(!said.contains("server 127.0.0.1:2883"), "{said}");
    assert!(said.contains("server 127.0.0.1:2885"), "{said}");
}

#[test]
fn a_cause_is_named_once() {
    let nowhere = ["check", "run", "status", "restart"];
    for command in nowhere {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_odp"))
            .args([command, "-c", "/nowhere/odp.toml"])
            .output()
            .expect("odp runs");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let expected = "odp: config /nowhere/odp.toml: No such file or directory (os error 2)\n";
        assert_eq!((output.status.code(), said.as_str()), (Some(1), expected), "{command}");
    }
    // The driver names its cause, which names its own.
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_odp"))
        .args(["status", "-a", "127.0.0.1:1"])
        .output()
        .expect("odp runs");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(said.matches("Connection refused").count(), 1, "{said}");
    assert_eq!(said.matches("Input/output error").count(), 1, "{said}");
}

#[test]
fn an_admin_without_a_password_is_told_of() {
    let text = format!(
        "[proxy]\nrun_dir = 'RUN_DIR'\n[[admin.user]]\nname = 'root'\nrole = 'manager'\n\
         password = ''\n{CLUSTER}"
    );
    let (code, said) = odp("check", &text);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("warning: admin.user 'root': its password is empty"), "{said}");
}

#[test]
fn a_password_file_is_read_by_who_serves_and_left_by_who_asks() {
    let text = "[proxy]\nrun_dir = 'RUN_DIR'\n[admin]\nlisten = '127.0.0.1:1'\n\
                [[cluster]]\nname = 'a'\nservice_user = 's'\n\
                service_password_file = 'none.pw'\n[[cluster.server]]\naddress = 'h:1'\n";
    for command in ["check", "run"] {
        let (code, said) = odp(command, text);
        let expected = "odp: config f.toml: line 8, column 25: cluster 'a': \
                        service_password_file none.pw: No such file or directory";
        assert_eq!(code, Some(1), "{said}");
        assert!(said.starts_with(expected), "{command}: {said}");
    }
    let (_, said) = odp("status", text);
    assert!(!said.contains("none.pw"), "{said}");
}
