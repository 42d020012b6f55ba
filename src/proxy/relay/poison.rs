//! Lets a test have a session's bytes harm the process. Nothing without the feature `crash-points`.
//!
//! `ODP_POISON` is `WHAT:BYTES`. WHAT is `abort`, `fault`, `hang`, `panic`, `twice`, a panic on the
//! way out of another one, or `elsewhere`, an abort in a thread that serves no session. It befalls
//! every poll of a session whose client's socket has these bytes to be read.

use super::leg::Leg;

/// A session is polled.
#[cfg(not(feature = "crash-points"))]
#[inline]
pub(super) fn pass(_client: &Leg) {}

/// A session is polled.
#[cfg(feature = "crash-points")]
pub(super) fn pass(client: &Leg) {
    use std::os::fd::AsFd as _;
    use std::sync::LazyLock;

    use rustix::net::RecvFlags;

    static POISON: LazyLock<Option<(String, String)>> = LazyLock::new(|| {
        let poison = std::env::var("ODP_POISON").ok()?;
        let (what, bytes) = poison.split_once(':')?;
        Some((what.to_owned(), bytes.to_owned()))
    });
    let Some((what, poison)) = &*POISON else { return };
    let mut bytes = [0; 4096];
    let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
    let Ok((_, read)) = rustix::net::recv(client.stream().as_fd(), &mut bytes[..], flags) else {
        return;
    };
    let has_it = bytes[..read].windows(poison.len()).any(|window| window == poison.as_bytes());
    match what.as_str() {
        _ if !has_it => {}
        "abort" => std::process::abort(),
        "fault" => assert_ne!(overflow(0), 0, "it does not return"),
        "elsewhere" => drop(std::thread::spawn(|| std::process::abort()).join()),
        "hang" => loop {
            std::thread::park();
        },
        "twice" => {
            let _guard = PanicsToo;
            panic!("injected panic by poison")
        }
        _ => panic!("injected panic by poison"),
    }
}

/// What is dropped on the way out of a panic must not panic: the process aborts.
#[cfg(feature = "crash-points")]
struct PanicsToo;

#[cfg(feature = "crash-points")]
impl Drop for PanicsToo {
    fn drop(&mut self) {
        let _ = &"SELECT 'arsenic'"[..std::hint::black_box(99)];
    }
}

/// A real one: there is an end to every stack.
#[cfg(feature = "crash-points")]
fn overflow(depth: u64) -> u64 {
    let frame = std::hint::black_box([depth; 512]);
    match frame[0] {
        u64::MAX => 0,
        depth => overflow(depth + 1) + frame[511],
    }
}
