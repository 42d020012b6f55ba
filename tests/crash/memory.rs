//! Memory that is not to be had, and memory that is given back.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use rustix::process::{Pid, Resource, Rlimit, prlimit};

use crate::scene::Scene;
use crate::support::process::kb_each;
use crate::support::proxy::Options;
use crate::support::{Login, Proxy, Wire, may_look_into_proxies, scratch, skip, until};

/// Of what SHOW CRASH shows.
type Row = BTreeMap<String, String>;

/// Opens sessions until the carrier is gone; it is not told of those that it did not take.
fn open_until_gone(scene: &Scene, carrier: u32) {
    let mut more = Vec::new();
    until("the carrier to be gone", || {
        more.extend(Wire::open(&scene.proxy.address(), &Login::default()).ok().map(|mut wire| {
            // Something to keep for each.
            let _ = wire.try_query(&format!("SET @a = '{}'", "x".repeat(60_000)));
            wire
        }));
        (!Path::new(&format!("/proc/{carrier}")).exists()).then_some(())
    });
}

/// An allocation that fails ends the process, as Rust's library does it.
#[test]
fn sessions_go_on_after_a_limit_of_memory() {
    let Some(scene) = Scene::start() else { return };
    let mut innocents = scene.innocents(20);
    let carrier = scene.carrier();
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    prlimit(Pid::from_raw(carrier as i32), Resource::Data, none).expect("it may be lowered");
    open_until_gone(&scene, carrier);
    let crash = &scene.after(1)[0];
    assert_eq!(crash["how"], "SIGABRT", "{crash:?}");
    scene.ask_all(&mut innocents);
}

/// A session that waits has its state, and no buffer in either direction: that would be 16 KiB each
/// or, of a journal, the first page of each at least.
#[test]
fn sessions_that_wait_hold_no_buffers() {
    if !may_look_into_proxies() {
        return;
    }
    let Some(scene) = Scene::start() else { return };
    let mut options = Options::new(&[scene.database.address()]);
    options.proxy.insert_str(0, "crash_protection = false\n");
    let bare = Proxy::start_with(&options);
    for (proxy, pid) in [(&scene.proxy, scene.carrier()), (&bare, bare.pid())] {
        let each = kb_each(pid, || {
            let mut wire = Wire::open(&proxy.address(), &Login::default()).expect("a session");
            assert_eq!(wire.run("SELECT REPEAT('x', 3000)").text().len(), 3000);
            wire
        });
        assert!(each < 10, "{each} KiB each");
    }
}

/// A control group of the test's own, if it may make one.
struct Group(PathBuf);

impl Group {
    fn new() -> Option<Self> {
        let path = format!("/sys/fs/cgroup/memory/odp-test-{}", std::process::id());
        if std::fs::create_dir(&path).is_err() {
            skip("needs a memory cgroup (v1) that may be divided");
            return None;
        }
        Some(Self(path.into()))
    }

    fn set(&self, file: &str, value: impl ToString) {
        std::fs::write(self.0.join(file), value.to_string()).expect("the group is ours");
    }

    fn get(&self, file: &str) -> u64 {
        let text = std::fs::read_to_string(self.0.join(file)).expect("the group is ours");
        text.trim().parse().expect("a number")
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let gone = || std::fs::remove_dir(&self.0).ok();
        if !std::thread::panicking() {
            until("the group to be empty", gone);
        }
    }
}

/// What a process is worth to the kernel when memory is short.
fn score(pid: u32) -> i32 {
    let score = std::fs::read_to_string(format!("/proc/{pid}/oom_score_adj"));
    score.expect("it lives").trim().parse().expect("a number")
}

/// Else odp would sooner or later go before everything else on the machine.
#[test]
fn a_restart_makes_no_process_worth_more() {
    let Some(scene) = Scene::start() else { return };
    let scores = || {
        let pair = until("one pair", || {
            let all = scene.proxy.process().all_living();
            <[u32; 2]>::try_from(all).ok()
        });
        pair.map(score)
    };
    let before = scores();
    assert_eq!(before[1], (before[0] + 200).min(1000));
    for _ in 0..2 {
        scene.proxy.restart();
        assert_eq!(scores(), before);
    }
}

/// It has the same reason each time, which no session is suspected of.
#[test]
fn a_proxy_that_the_oom_killer_takes_again_and_again_starts_empty() {
    let Some(group) = Group::new() else { return };
    let dir = scratch();
    let wrapper = dir.path().join("grouped");
    let (procs, odp) = (group.0.join("cgroup.procs"), env!("CARGO_BIN_EXE_odp"));
    let text = format!("#!/bin/sh\necho $$ > {}\nexec '{odp}' \"$@\"\n", procs.display());
    std::fs::write(&wrapper, text).expect("the directory is ours");
    let may_run = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(&wrapper, may_run).expect("the file is ours");
    let Some(scene) = Scene::start_with(|options| options.binary = Some(wrapper)) else { return };
    let mut innocents = scene.innocents(5);
    let deaths = (0..8).find_map(|_| {
        let carrier = scene.carrier();
        group.set("memory.limit_in_bytes", group.get("memory.usage_in_bytes") + (64 << 10));
        open_until_gone(&scene, carrier);
        // Whoever comes next is to have enough at first.
        group.set("memory.limit_in_bytes", -1);
        until("it to serve", || (scene.proxy.http_status("/readyz") == Some(200)).then_some(()));
        let rows = scene.crashes();
        let is_given_up = |row: &Row| row["reasons"].starts_with("the proxy died repeatedly");
        rows.iter().any(is_given_up).then_some(rows)
    });
    let deaths = deaths.unwrap_or_else(|| panic!("{:?}", scene.crashes()));
    assert!(deaths.len() >= 3, "{deaths:?}");
    assert!(deaths.iter().all(|it| (&it["how"][..], &it["suspect"][..]) == ("SIGKILL", "")));
    for wire in &mut innocents {
        assert_eq!(wire.until_closed(), b"", "FIN, and nothing else");
    }
    scene.ask_all(&mut scene.innocents(3));
    drop(scene);
}

/// The kernel takes the process that is to go first, and that is not the keeper.
#[test]
fn sessions_go_on_after_the_oom_killer() {
    let Some(group) = Group::new() else { return };
    let Some(scene) = Scene::start() else { return };
    let mut innocents = scene.innocents(20);
    let (keeper, carrier) = (scene.proxy.process().pid(), scene.carrier());
    assert_eq!(score(carrier), (score(keeper) + 200).min(1000));
    // Alone, as the limit would be too low for whoever comes after it. What it has already is
    // charged elsewhere.
    group.set("cgroup.procs", carrier);
    group.set("memory.limit_in_bytes", group.get("memory.usage_in_bytes") + (512 << 10));
    open_until_gone(&scene, carrier);
    let crash = &scene.after(1)[0];
    assert_eq!((&crash["how"][..], &crash["suspect"][..]), ("SIGKILL", ""));
    scene.ask_all(&mut innocents);
    assert_eq!(scene.proxy.process().pid(), keeper);
    assert_eq!(scene.proxy.process().ended(), None);
    drop(scene);
}
