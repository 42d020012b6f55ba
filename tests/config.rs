//! The config file that is shipped shows every parameter, with its default, under a comment.

use odp::config::Config;

const FILE: &str = include_str!("../config/odp.toml");

#[test]
fn the_shipped_config_is_the_default() {
    let shipped = Config::parse(FILE, "config/odp.toml".as_ref()).expect("it is valid");
    let default = Config { cluster: shipped.cluster.clone(), ..Config::default() };
    assert_eq!(shipped, default);
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
        for key in keys.keys().filter(|key| *key != "user") {
            assert!(shipped[section].get(key).is_some(), "{section}.{key} is missing");
        }
    }
    assert!(sections >= 4, "only {sections} sections were looked at");
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
                [[cluster]]\nname = 'a'\n[[cluster.server]]\naddress = 'h:1'\n";
    let config = Config::parse(text, "f.toml".as_ref()).expect("a config");
    let shown = format!("{config:?} {}", toml::to_string(&config).expect("it is a table"));
    assert!(!shown.contains("hush"), "{shown}");
}
