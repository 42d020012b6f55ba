//! Two proxies of one user on one host never get into each other's way.

use std::process::Command;

use crate::scene::{Scene, restart, said, take_over};
use crate::support::{Process, Proxy, scratch, until};

/// The inode of a proxy's handover socket.
fn door(proxy: &Proxy) -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    until("the handover socket", || {
        std::fs::symlink_metadata(proxy.run_dir().join("handover.sock")).ok()
    })
    .ino()
}

#[test]
fn t_48_two_proxies_restart_side_by_side() {
    let (Some(one), Some(mut other)) = (Scene::start(), Scene::start()) else { return };
    std::thread::scope(|scope| {
        for proxy in [&one.proxy, &other.proxy] {
            scope.spawn(|| {
                for _ in 0..5 {
                    restart(proxy);
                }
            });
        }
    });
    let (pid, inode) = (other.proxy.pid(), door(&other.proxy));
    // A takeover succeeds the proxy whose config it was given, and no other.
    let successor = take_over(&one.proxy);
    assert_eq!((other.proxy.pid(), door(&other.proxy)), (pid, inode));
    assert_eq!(said(&other.proxy, "a successor knocks"), 0);
    assert_eq!(
        other.waiting.wires()[0].run("SELECT @@port").text(),
        other.database.port.to_string()
    );
    one.finish();
    drop(successor);
    other.finish();
}

#[test]
fn t_48_a_second_proxy_in_the_same_directory_leaves_the_first_its_door() {
    let Some(scene) = Scene::start() else { return };
    let inode = door(&scene.proxy);
    let dir = scratch();
    let config = std::fs::read_to_string(scene.proxy.config()).expect("the config");
    // The same run_dir, but ports of its own.
    let config = [scene.proxy.sql, scene.proxy.admin, scene.proxy.http]
        .iter()
        .fold(config, |text, port| text.replace(&format!("127.0.0.1:{port}\""), "127.0.0.1:0\""));
    std::fs::write(dir.path().join("odp.toml"), config).expect("the directory is ours");
    let mut command = Command::new(env!("CARGO_BIN_EXE_odp"));
    command.args(["run", "-c"]).arg(dir.path().join("odp.toml"));
    let second = Process::spawn("the second", command, &dir.path().join("log"));
    until("it to serve", || second.log().contains("state=RUNNING").then_some(()));
    assert!(second.log().contains("another proxy is using it"), "{}", second.log());
    assert_eq!(door(&scene.proxy), inode);
    drop(second);
    assert_eq!(door(&scene.proxy), inode);
    restart(&scene.proxy);
    scene.finish();
}
