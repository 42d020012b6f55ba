//! What operators alter outlives the process: over cold starts, crashes and restarts, until the
//! file of the config says something new; and nothing that is wrong there keeps a proxy from
//! serving unless it hides what was altered.

mod support;

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use support::proxy::Options;
use support::{Proxy, Wire, scratch, skip, until};

/// One that has nobody behind it.
fn options() -> Options {
    let mut options = Options::new(&["127.0.0.1:1".into(), "127.0.0.1:2".into()]);
    options.proxy = "connect_timeout = \"9s\"\n".into();
    options
}

fn file(proxy: &Proxy) -> PathBuf {
    proxy.state_dir().join("parameters.toml")
}

fn admin(proxy: &Proxy) -> Wire {
    proxy.admin().expect("the admin port takes us")
}

fn alter(proxy: &Proxy, what: &str) {
    let reply = admin(proxy).query(&format!("ALTER {what}"));
    assert_eq!(reply.error(), None, "{what}: {:?}", reply.last());
}

fn value(proxy: &Proxy, name: &str) -> String {
    let rows = admin(proxy).query(&format!("SHOW PROXYCONFIG LIKE '{name}'")).named_rows();
    rows[0]["value"].clone()
}

/// Name, value, what is in the file, whether it is kept.
fn differences(proxy: &Proxy) -> Vec<[String; 4]> {
    let rows = admin(proxy).query("SHOW PROXYCONFIG DIFF").named_rows();
    let of = |mut row: std::collections::BTreeMap<String, String>| {
        ["name", "value", "in_file", "kept"].map(|column| row.remove(column).expect(column))
    };
    rows.into_iter().map(of).collect()
}

fn kept(all: &[[&str; 3]]) -> Vec<[String; 4]> {
    all.iter().map(|[name, value, from]| [name, value, from, "yes"].map(String::from)).collect()
}

fn edit(path: &Path, from: &str, to: &str) {
    let text = std::fs::read_to_string(path).expect("it is there");
    assert!(text.contains(from), "{from} in {text}");
    std::fs::write(path, text.replacen(from, to, 1)).expect("ours");
}

const SERVERS: &str = "cluster.main.server";

#[test]
fn what_was_altered_is_in_force_after_a_crash_and_the_file_wins_for_what_it_changes() {
    let options = options();
    let mut proxy = Proxy::start_with(&options);
    assert_eq!(differences(&proxy), kept(&[]));
    assert!(!file(&proxy).exists(), "there is nothing to be kept");
    alter(&proxy, "PROXYCONFIG SET connect_timeout = '3s', login_timeout = '4s'");
    alter(&proxy, "CLUSTER main DRAIN SERVER '127.0.0.1:1'");
    alter(&proxy, "CLUSTER main SET init_sql = 'SET @secret = 1'");
    let servers = [SERVERS, "127.0.0.1:1 draining,127.0.0.1:2", "127.0.0.1:1,127.0.0.1:2"];
    let expected = kept(&[
        ["connect_timeout", "3s", "9s"],
        ["login_timeout", "4s", "10s"],
        ["cluster.main.init_sql", "SET @secret = 1", ""],
        servers,
    ]);
    assert_eq!(differences(&proxy), expected);
    let row = &admin(&proxy).query("SHOW PROXYCONFIG DIFF LIKE 'login%'").named_rows()[0];
    assert!(row["changed_by"].starts_with("root@127.0.0.1:"), "{row:?}");
    assert!(row["changed_at"].starts_with("20") && row["changed_at"].ends_with('Z'), "{row:?}");
    let mode = |path: &Path| std::fs::metadata(path).expect("there").permissions().mode() & 0o777;
    assert_eq!((mode(&file(&proxy)), mode(&proxy.state_dir())), (0o600, 0o700));
    for _ in 0..2 {
        proxy.start_again(&options, &[]).expect("it starts");
        assert_eq!(differences(&proxy), expected);
    }
    let log = proxy.log();
    for part in ["login_timeout", "value=\"4s\"", "in_file=\"10s\"", "by=\"root@127.0.0.1"] {
        assert!(log.contains(part), "{part}: {log}");
    }
    assert!(!log.contains("@secret"), "{log}");
    edit(&proxy.config(), "connect_timeout = \"9s\"", "connect_timeout = \"8s\"");
    proxy.start_again(&options, &[]).expect("it starts");
    assert_eq!(value(&proxy, "connect_timeout"), "8s");
    assert_eq!(differences(&proxy), expected[1..]);
    // It is gone for good, also if the file takes it back.
    until("it to be forgotten", || {
        let text = std::fs::read_to_string(file(&proxy)).expect("there");
        (!text.contains("connect_timeout")).then_some(())
    });
    edit(&proxy.config(), "connect_timeout = \"8s\"", "connect_timeout = \"9s\"");
    proxy.start_again(&options, &[]).expect("it starts");
    assert_eq!(value(&proxy, "connect_timeout"), "9s");
}

#[test]
fn a_check_tells_what_a_file_would_change_and_when() {
    let proxy = Proxy::start_with(&options());
    alter(&proxy, "PROXYCONFIG SET delay_exit_time = '3s'");
    let changes = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_odp"));
        command.env_remove("ODP_ADMIN_PASSWORD").args(["check", "--changes", "-c"]);
        let output = command.arg(proxy.config()).output().expect("odp runs");
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let said = String::from_utf8(output.stdout).expect("UTF-8");
        said.lines().skip(1).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(changes(), [""; 0], "what was altered live is no change of the file");
    edit(&proxy.config(), "connect_timeout = \"9s\"", "connect_timeout = \"8s\"\nworkers = 1");
    edit(&proxy.config(), "[admin]", "delay_exit_time = \"1s\"\n[admin]");
    let expected = [
        "connect_timeout: '9s' becomes '8s' at the next session (after SIGHUP)",
        "delay_exit_time: '100ms' becomes '1s' now (SIGHUP)",
        "workers: '0' becomes '1' at a restart",
    ];
    assert_eq!(changes(), expected);
}

#[test]
fn what_two_generations_alter_is_kept_by_both() {
    let mut options = options();
    // The predecessor stays while it has a session on the admin port of its own.
    options.proxy.push_str("hot_upgrade_probation = \"3s\"\n");
    let mut proxy = Proxy::start_with(&options);
    alter(&proxy, "PROXYCONFIG SET connect_timeout = '3s'");
    let before = proxy.pid();
    kill(Pid::from_raw(before as i32), Signal::SIGUSR2).expect("it lives");
    // While two live, whoever is asked.
    let mut count = 10;
    until("the restart to be over", || {
        let mut wire = proxy.admin().ok()?;
        let altered = format!("ALTER PROXYCONFIG SET max_user_connections = {count}");
        let reply = wire.try_query(&altered).ok()?;
        count += usize::from(reply.error().is_none());
        let tasks = wire.try_query("SHOW RESTART").ok()?.named_rows();
        tasks.first().is_some_and(|task| task["state"] == "COMPLETED").then_some(())
    });
    assert_ne!(proxy.pid(), before);
    assert!(count > 11, "both were asked");
    let expected = (count - 1).to_string();
    assert_eq!(value(&proxy, "max_user_connections"), expected);
    proxy.start_again(&options, &[]).expect("it starts");
    assert_eq!(value(&proxy, "max_user_connections"), expected);
    assert_eq!(value(&proxy, "connect_timeout"), "3s");
}

#[test]
fn a_damaged_file_is_refused_with_its_line_and_put_aside_on_demand() {
    let options = options();
    let mut proxy = Proxy::start_with(&options);
    alter(&proxy, "PROXYCONFIG SET connect_timeout = '3s', login_timeout = '4s'");
    let whole = std::fs::read_to_string(file(&proxy)).expect("there");
    let half = &whole[..whole.find("[parameter.login_timeout]").expect("it is there")];
    std::fs::write(file(&proxy), half).expect("ours");
    // A restart has it from the predecessor, and mends it.
    proxy.restart();
    until("it to be mended", || {
        (std::fs::read_to_string(file(&proxy)).expect("there") == whole).then_some(())
    });
    for (text, expected) in [
        (half, "line 4, column 9: count = 2: 1 are there; the file is not whole"),
        ("run_dir = 1", "line 1, column 11: run_dir: "),
        ("\u{0}\u{0}", "line 1, column 1: "),
    ] {
        std::fs::write(file(&proxy), text).expect("ours");
        let said = proxy.start_again(&options, &[]).expect_err("it is damaged");
        let path = file(&proxy).display().to_string();
        for part in [expected, &path, "--ignore-state"] {
            assert!(said.contains(part), "{part}: {said}");
        }
        assert_eq!(std::fs::read_to_string(file(&proxy)).expect("there"), text);
    }
    proxy.start_again(&options, &["--ignore-state"]).expect("it is put aside");
    assert_eq!(differences(&proxy), kept(&[]));
    let aside = proxy.state_dir().join("parameters.toml.ignored");
    assert!(aside.exists() && !file(&proxy).exists());
    alter(&proxy, "PROXYCONFIG SET login_timeout = '5s'");
    proxy.start_again(&options, &[]).expect("it starts");
    assert_eq!(value(&proxy, "login_timeout"), "5s");
}

#[test]
fn what_cannot_be_kept_is_in_force_and_said() {
    let scratch = scratch();
    let blocked = scratch.path().join("file");
    std::fs::write(&blocked, "").expect("ours");
    let blocked = blocked.join("state").display().to_string();
    for (state_dir, expected) in [(&*blocked, "Not a directory"), ("", "state_dir is empty")] {
        let mut options = options();
        options.proxy.push_str(&format!("state_dir = \"{state_dir}\"\n"));
        let mut proxy = Proxy::start_with(&options);
        let log = proxy.log();
        assert!(log.contains("a cold start forgets what ALTER has changed"), "{log}");
        let reply = admin(&proxy).query("ALTER PROXYCONFIG SET connect_timeout = '3s'");
        let told = String::from_utf8_lossy(&reply.last().payload).into_owned();
        assert!(told.contains("in force, but not kept") && told.contains(expected), "{told}");
        let [[name, value, _, kept]] = &differences(&proxy)[..] else { panic!("one differs") };
        assert_eq!((name.as_str(), value.as_str()), ("connect_timeout", "3s"));
        assert!(kept.contains(expected), "{kept}");
        proxy.restart();
        assert_eq!(self::value(&proxy, "connect_timeout"), "3s", "a successor is told");
        proxy.start_again(&options, &[]).expect("it starts");
        assert_eq!(self::value(&proxy, "connect_timeout"), "9s");
    }
}

#[test]
fn another_proxys_file_is_left_alone() {
    let one = Proxy::start_with(&options());
    alter(&one, "PROXYCONFIG SET connect_timeout = '3s'");
    let before = std::fs::read_to_string(file(&one)).expect("there");
    let mut options = options();
    options.proxy.push_str(&format!("state_dir = \"{}\"\n", one.state_dir().display()));
    let other = Proxy::start_with(&options);
    assert_eq!(value(&other, "connect_timeout"), "9s");
    let reply = admin(&other).query("ALTER PROXYCONFIG SET login_timeout = '3s'");
    let told = String::from_utf8_lossy(&reply.last().payload).into_owned();
    assert!(told.contains("is that of the proxy with run_dir"), "{told}");
    assert_eq!(std::fs::read_to_string(file(&one)).expect("there"), before);
}

/// A small file system, gone with the test.
struct Small(PathBuf);

impl Small {
    fn mount(path: &Path) -> Option<Self> {
        std::fs::create_dir(path).expect("ours");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=64k,mode=0700", "tmpfs"]).arg(path);
        let mounted = mount.output().is_ok_and(|output| output.status.success());
        if !mounted {
            skip("a file system that can be filled is needed, and this user may not mount one");
        }
        mounted.then(|| Self(path.to_owned()))
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_full_disk_leaves_the_file_whole_and_is_written_when_there_is_room() {
    let scratch = scratch();
    let path = scratch.path().join("small");
    let Some(_small) = Small::mount(&path) else { return };
    let mut options = options();
    options.proxy.push_str(&format!("state_dir = \"{}\"\n", path.display()));
    let mut proxy = Proxy::start_with(&options);
    alter(&proxy, "PROXYCONFIG SET connect_timeout = '3s'");
    let file = path.join("parameters.toml");
    let before = std::fs::read_to_string(&file).expect("there");
    let ballast = path.join("ballast");
    assert!(std::fs::write(&ballast, vec![0; 128 << 10]).is_err(), "it is full");
    let reply = admin(&proxy).query("ALTER PROXYCONFIG SET connect_timeout = '4s'");
    let told = String::from_utf8_lossy(&reply.last().payload).into_owned();
    assert!(told.contains("not kept") && told.contains("No space left"), "{told}");
    assert_eq!(value(&proxy, "connect_timeout"), "4s");
    assert_eq!(std::fs::read_to_string(&file).expect("there"), before);
    let drafts = std::fs::read_dir(&path).expect("there").flatten();
    let mut drafts = drafts.filter(|it| it.file_name().to_string_lossy().ends_with(".new"));
    assert!(drafts.next().is_none(), "no draft is left");
    std::fs::remove_file(&ballast).expect("ours");
    alter(&proxy, "PROXYCONFIG SET login_timeout = '5s'");
    assert_eq!(differences(&proxy)[0][3], "yes");
    proxy.start_again(&options, &[]).expect("it starts");
    assert_eq!(value(&proxy, "connect_timeout"), "4s");
    assert_eq!(value(&proxy, "login_timeout"), "5s");
}

#[cfg(feature = "crash-points")]
#[test]
fn a_death_before_the_file_has_its_name_leaves_the_one_before() {
    let scratch = scratch();
    let spec = scratch.path().join("crash");
    std::fs::write(&spec, "").expect("ours");
    let mut options = options();
    options.environment = vec![("ODP_CRASH_AT".into(), format!("@{}", spec.display()))];
    // The death is to be the end.
    options.proxy.push_str("crash_protection = false\n");
    let mut proxy = Proxy::start_with(&options);
    for (before, next) in [("9s", "3s"), ("3s", "4s")] {
        std::fs::write(&spec, "predecessor:kept:1:kill").expect("ours");
        let sql = format!("ALTER PROXYCONFIG SET connect_timeout = '{next}'");
        assert!(admin(&proxy).try_query(&sql).is_err(), "nobody has acknowledged it");
        proxy.process().wait();
        std::fs::write(&spec, "").expect("ours");
        let drafts = std::fs::read_dir(proxy.state_dir()).expect("there").flatten();
        let drafts = drafts.filter(|it| it.file_name().to_string_lossy().ends_with(".new"));
        assert_eq!(drafts.count(), if before == "9s" { 1 } else { 2 });
        proxy.start_again(&options, &[]).expect("it starts");
        assert_eq!(value(&proxy, "connect_timeout"), before);
        alter(&proxy, &sql["ALTER ".len()..]);
        proxy.start_again(&options, &[]).expect("it starts");
        assert_eq!(value(&proxy, "connect_timeout"), next);
    }
}
