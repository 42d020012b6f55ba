//! Processes whose clock is not the machine's: libfaketime, which Debian has.

use super::skip;

/// Variables of the environment by which a process believes in another time, such as `-3h`; None
/// where that cannot be had. What counts seconds from its start is left alone.
pub(crate) fn shifted(by: &str) -> Option<Vec<(String, String)>> {
    let machines = std::fs::read_dir("/usr/lib").ok()?.flatten();
    let library = |machine: std::fs::DirEntry| machine.path().join("faketime/libfaketimeMT.so.1");
    let Some(library) = machines.map(library).find(|path| path.exists()) else {
        skip("libfaketime is needed: Debian's package libfaketime has it");
        return None;
    };
    let library = library.display().to_string();
    let variables =
        [("LD_PRELOAD", library.as_str()), ("FAKETIME", by), ("FAKETIME_DONT_FAKE_MONOTONIC", "1")];
    Some(variables.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec())
}
