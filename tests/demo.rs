//! `odp demo` leaves nothing behind, however it ends.

use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Output, Stdio};
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

/// A machine without a database server, as far as a demo can see.
struct Bare {
    directory: tempfile::TempDir,
}

impl Bare {
    /// None where such a view cannot be made, or programs would be missing in it.
    fn new() -> Option<Self> {
        let mut probe = Command::new("unshare");
        probe.args(["--mount", "mount", "-t", "tmpfs", "bare", "/usr/sbin"]);
        probe.stdout(Stdio::null()).stderr(Stdio::null());
        let is_directory = !Path::new("/usr/sbin").is_symlink();
        if !is_directory || !probe.status().is_ok_and(|status| status.success()) {
            println!("SKIPPED: unshare --mount does not work here (it needs root)");
            return None;
        }
        Some(Self { directory: tempfile::tempdir().unwrap() })
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    /// An apt-get whose `install` does this; it writes down how it is called.
    fn has_apt(&self, install: &str) {
        let script = format!(
            "#!/bin/sh\necho \"$* $DEBIAN_FRONTEND $(/usr/sbin/policy-rc.d; echo $?)\" \
             >>{}/calls\n[ \"$2\" = update ] || {{ {install}; }}\n",
            self.path().display()
        );
        let apt = self.path().join("apt-get");
        std::fs::write(&apt, script).unwrap();
        std::fs::set_permissions(&apt, std::fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn calls(&self) -> String {
        std::fs::read_to_string(self.path().join("calls")).unwrap_or_default()
    }

    /// Runs `odp demo` there, then says what is left in /usr/sbin.
    fn demo(&self, path: &str, arguments: &[&str]) -> Output {
        let script = "set -e\nmkdir -p \"$1/real\" \"$1/tmp\"\nmount --bind /usr/sbin \"$1/real\"\n\
             mount -t tmpfs bare /usr/sbin\nfor other in /usr/local/sbin /usr/libexec; do\n\
             [ ! -d $other ] || mount -t tmpfs bare $other; done\n\
             code=0\nTMPDIR=$1/tmp PATH=$2 \"$3\" demo $4 || code=$?\n\
             echo \"left: $(ls /usr/sbin) $(ls \"$1/tmp\")\"\nexit $code";
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", script, "bare"]).arg(self.path()).arg(path);
        command.arg(env!("CARGO_BIN_EXE_odp")).arg(arguments.join(" "));
        command.stdin(Stdio::null()).output().unwrap()
    }
}

fn said(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn without_a_server_it_names_the_flag_before_anything_else() {
    let Some(bare) = Bare::new() else { return };
    bare.has_apt("exit 1");
    let path = format!("{}:/usr/bin:/bin", bare.path().display());
    let (code, left, errors) = said(&bare.demo(&path, &[]));
    assert_eq!(code, Some(1), "{errors}");
    assert!(errors.starts_with("odp: no MariaDB or MySQL server found"), "{errors}");
    assert!(errors.contains("cargo run --release -- demo --install"), "{errors}");
    assert_eq!((left.trim(), bare.calls().as_str()), ("left:", ""), "nothing was begun");
}

#[test]
fn without_apt_it_says_what_is_needed() {
    let Some(bare) = Bare::new() else { return };
    let nowhere = bare.path().join("nowhere").display().to_string();
    for arguments in [&[][..], &["--install"]] {
        let (code, left, errors) = said(&bare.demo(&nowhere, arguments));
        assert_eq!(code, Some(1), "{errors}");
        assert!(errors.contains("no apt-get") && errors.contains("mariadbd"), "{errors}");
        assert!(!errors.contains("--install"), "it would not help: {errors}");
        assert_eq!(left.trim(), "left:");
    }
}

#[test]
fn an_installation_that_fails_is_told() {
    let Some(bare) = Bare::new() else { return };
    bare.has_apt("echo 'E: no such package' >&2; exit 100");
    let path = format!("{}:/usr/bin:/bin", bare.path().display());
    let (code, left, errors) = said(&bare.demo(&path, &["--install"]));
    assert_eq!(code, Some(1), "{errors}");
    let announced = errors.find("apt-get install -y --no-install-recommends mariadb-server");
    let apts = errors.find("E: no such package");
    assert!(announced.is_some() && announced < apts, "it is said, then done: {errors}");
    assert!(
        errors.contains("apt-get did not install mariadb-server: exit status: 100"),
        "{errors}"
    );
    assert_eq!(left.trim(), "left:", "not even policy-rc.d");
}

#[test]
fn with_the_flag_it_installs_a_server_and_runs() {
    let (Some(bare), true) = (Bare::new(), is_installed("mariadbd")) else { return };
    bare.has_apt(&format!("ln -s {}/real/mariadbd /usr/sbin/", bare.path().display()));
    let path = format!("{}:/usr/bin:/bin", bare.path().display());
    let arguments = ["--install", "--duration", "2s", "--restart-every", "1s"];
    let (code, results, errors) = said(&bare.demo(&path, &arguments));
    assert_eq!(code, Some(0), "{results}{errors}");
    assert!(results.contains("NOTHING WAS LOST"), "{results}{errors}");
    // No server is started by apt: policy-rc.d says 101 while it works, and is gone then.
    let calls = "-q update noninteractive 101\n\
                 -q -y --no-install-recommends install mariadb-server noninteractive 101\n";
    assert_eq!(bare.calls(), calls);
    assert!(results.contains("left: mariadbd"), "{results}");
}
