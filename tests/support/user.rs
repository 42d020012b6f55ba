//! Another user of this machine, who has no rights here.

use rustix::process::{Gid, Uid};

use super::skip;

/// The uid and gid of `nobody` nearly everywhere; that they have no rights here is what counts.
pub(crate) const NOBODY: u32 = 65534;

/// Whether this process may become another user. If not, the test is skipped.
pub(crate) fn may_become_nobody() -> bool {
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        skip("another user is needed, and only root may become one");
    }
    is_root
}

/// Does something as `nobody`. Only this thread changes: no program is needed that nobody may run.
pub(crate) fn as_nobody<T: Send>(act: impl FnOnce() -> T + Send) -> T {
    let become_nobody = || {
        let (uid, gid) = (Uid::from_raw(NOBODY), Gid::from_raw(NOBODY));
        rustix::thread::set_thread_groups(&[])?;
        rustix::thread::set_thread_res_gid(gid, gid, gid)?;
        rustix::thread::set_thread_res_uid(uid, uid, uid)
    };
    std::thread::scope(|scope| {
        let nobody = scope.spawn(|| {
            become_nobody().expect("root may become anybody");
            act()
        });
        nobody.join().expect("nobody does as told")
    })
}
