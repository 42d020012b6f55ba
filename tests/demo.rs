//! `odp demo` leaves nothing behind, however it ends.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::time::{Duration, Instant};

fn is_installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).any(|directory| directory.join(program).is_file());
    if !found {
        println!("SKIPPED: {program} is not installed (apt-get install mariadb-server)");
    }
    found
}

/// Starts a demo and reads where it lives.
fn demo(arguments: &[&str]) -> (Child, BufReader<ChildStderr>, PathBuf) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_odp"))
        .arg("demo")
        .args(arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("odp");
    let mut said = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    said.read_line(&mut line).unwrap();
    let place = line.split_whitespace().find(|word| word.contains("odp-demo-"));
    let place = place.unwrap_or_else(|| panic!("no directory in {line}")).into();
    (child, said, place)
}

/// Processes whose command line names the directory.
fn processes_of(place: &Path) -> Vec<String> {
    let place = place.to_str().unwrap();
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let lines = processes.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
    let lines = lines.map(|line| String::from_utf8_lossy(&line).replace('\0', " "));
    lines.filter(|line| line.contains(place)).collect()
}

fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(60);
    while !is_so() {
        assert!(Instant::now() < until, "{what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_demo_that_is_killed_leaves_nothing_behind() {
    if !is_installed("mariadbd") {
        return;
    }
    let (mut child, _said, place) = demo(&[]);
    wait_until("the proxy does not start", || {
        processes_of(&place).iter().any(|line| line.contains("odp.toml"))
    });
    assert!(processes_of(&place).iter().any(|line| line.contains("mariadbd")));
    child.kill().unwrap();
    child.wait().unwrap();
    wait_until("the directory is still there", || !place.exists());
    wait_until("processes are still there", || processes_of(&place).is_empty());
}
