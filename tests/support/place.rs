//! The program under test where a file of the system is another one: a list of hosts, of resolvers.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::skip;

/// The program, which sees a file in the place of another one.
const SCRIPT: &str = "#!/bin/sh\nexec unshare --mount sh -c '\
    mount --bind \"$1\" \"$2\" && shift 2 && exec \"$@\"' sh 'FILE' 'PLACE' 'ODP' \"$@\"\n";

/// The program under test as a script there, to which this file is the one of the system at
/// `place`; None: that cannot be.
pub(crate) fn seeing(dir: &Path, file: &Path, place: &str) -> Option<PathBuf> {
    let script = dir.join("odp");
    let text = SCRIPT.replace("FILE", file.to_str().expect("UTF-8")).replace("PLACE", place);
    let text = text.replace("ODP", env!("CARGO_BIN_EXE_odp"));
    std::fs::write(&script, text).expect("the directory is ours");
    let executable = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(&script, executable).expect("the file is ours");
    let can = Command::new(&script).arg("--version").output();
    if !can.is_ok_and(|output| output.status.success()) {
        skip("unshare --mount does not work here (it needs root)");
        return None;
    }
    Some(script)
}
