//! What a service manager hears: the proxy as a process, and a socket that plays systemd.

mod support;

use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rustix::net::sockopt::set_socket_passcred;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use support::proxy::Options;
use support::{Database, LIMIT, Proxy, Server, scratch, until};

/// The manager's end.
struct Manager {
    socket: UnixDatagram,
    dir: tempfile::TempDir,
}

/// One message.
#[derive(Debug)]
struct Heard {
    sender: u32,
    text: String,
    fds: Vec<OwnedFd>,
}

impl Heard {
    /// Who is the main process, as it says.
    fn main(&self) -> u32 {
        let line = self.text.lines().next().and_then(|line| line.strip_prefix("MAINPID="));
        line.and_then(|pid| pid.parse().ok()).expect("a pid")
    }
}

impl Manager {
    fn new() -> Self {
        let dir = scratch();
        let socket = UnixDatagram::bind(dir.path().join("notify")).expect("a socket");
        set_socket_passcred(&socket, true).expect("credentials");
        socket.set_read_timeout(Some(LIMIT)).expect("a timeout");
        Self { socket, dir }
    }

    fn environment(&self) -> Vec<(String, String)> {
        let path = self.dir.path().join("notify").to_str().expect("UTF-8").to_owned();
        vec![("NOTIFY_SOCKET".into(), path), ("WATCHDOG_USEC".into(), "200000".into())]
    }

    fn hear(&self) -> Heard {
        let mut buffer = [0; 4096];
        let mut space =
            [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4), ScmCredentials(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut slices = [IoSliceMut::new(&mut buffer)];
        let flags = RecvFlags::CMSG_CLOEXEC;
        let message = recvmsg(&self.socket, &mut slices, &mut control, flags).expect("a message");
        let mut heard = Heard { sender: 0, text: String::new(), fds: Vec::new() };
        for part in control.drain() {
            match part {
                RecvAncillaryMessage::ScmCredentials(sender) => {
                    heard.sender = sender.pid.as_raw_nonzero().get() as u32;
                }
                RecvAncillaryMessage::ScmRights(fds) => heard.fds.extend(fds),
                _ => panic!("an unknown control message"),
            }
        }
        let length = message.bytes;
        heard.text = String::from_utf8(buffer[..length].to_vec()).expect("UTF-8");
        heard
    }

    /// The next message that is no keep-alive.
    fn hear_news(&self) -> Heard {
        let until = Instant::now() + LIMIT;
        loop {
            let heard = self.hear();
            if heard.text != "WATCHDOG=1" {
                eprintln!("{}: {}", heard.sender, heard.text.replace('\n', ", "));
                return heard;
            }
            assert!(Instant::now() < until, "only keep-alives");
        }
    }

    /// As [`Self::hear_news`], without what is for people only.
    fn hear_about(&self, start: &str) -> Heard {
        loop {
            let heard = self.hear_news();
            if !heard.text.starts_with("STATUS=") {
                assert!(heard.text.starts_with(start), "{start} comes next, not {heard:?}");
                return heard;
            }
        }
    }

    /// Who says who is the main process, and who that is.
    fn hear_main(&self) -> (u32, u32) {
        let main = self.hear_about("MAINPID=");
        (main.sender, main.main())
    }

    fn hear_watchdog(&self, sender: u32) {
        let until = Instant::now() + LIMIT;
        loop {
            let heard = self.hear();
            if heard.text == "WATCHDOG=1" && heard.sender == sender {
                return;
            }
            assert!(Instant::now() < until, "no keep-alive of {sender}");
        }
    }
}

/// A proxy that tells a manager of itself.
fn managed() -> Option<(Database, Proxy, Manager)> {
    let database = Database::start(Server::MariaDb)?;
    let manager = Manager::new();
    let mut options = Options::new(&[database.address()]);
    options.environment = manager.environment();
    let proxy = Proxy::start_with(&options);
    Some((database, proxy, manager))
}

fn parent(pid: u32) -> u32 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it lives");
    let parent = status.lines().find_map(|line| line.strip_prefix("PPid:"));
    parent.and_then(|pid| pid.trim().parse().ok()).expect("everybody has one")
}

#[test]
fn t_38_t_39_a_handover_is_told_in_order_and_is_no_stop() {
    let Some((_database, proxy, manager)) = managed() else { return };
    let first = manager.hear_about("READY=1\nSTATUS=");
    assert_eq!(first.sender, proxy.pid());
    manager.hear_watchdog(first.sender);

    let mut serving = first.sender;
    for _ in 0..3 {
        kill(Pid::from_raw(serving as i32), Signal::SIGUSR2).expect("it lives");
        let reloading = manager.hear_about("RELOADING=1\nMONOTONIC_USEC=");
        assert_eq!(reloading.sender, serving);
        let (sender, keeper) = manager.hear_main();
        assert_eq!(sender, serving, "who serves tells of it");
        let barrier = manager.hear_about("BARRIER=1");
        assert_eq!((barrier.sender, barrier.fds.len()), (serving, 1));
        // It must wait as long as this is open. There is no event for what does not happen.
        std::thread::sleep(Duration::from_millis(300));
        let living = proxy.process().living();
        assert_eq!((living.len(), living[0]), (2, serving), "the predecessor waits");
        drop(barrier.fds);
        let ready = manager.hear_about("READY=1\nSTATUS=");
        assert_eq!(proxy.process().living(), [ready.sender], "READY comes after its exit");
        assert_eq!(parent(ready.sender), keeper, "it is watched over by the main process");
        manager.hear_watchdog(ready.sender);
        serving = ready.sender;
    }

    kill(Pid::from_raw(serving as i32), Signal::SIGTERM).expect("it lives");
    let stopping = manager.hear_about("STOPPING=1\nEXTEND_TIMEOUT_USEC=");
    assert_eq!(stopping.sender, serving);
    until("the end", || proxy.process().living().is_empty().then_some(()));
}

/// The manager has nobody any more to order about, until somebody is named.
#[test]
fn who_loses_its_keeper_is_the_main_process_until_there_is_a_new_one() {
    let Some((_database, proxy, manager)) = managed() else { return };
    let alone = manager.hear_about("READY=1\nSTATUS=").sender;
    kill(Pid::from_raw(parent(alone) as i32), Signal::SIGKILL).expect("it lives");
    assert_eq!(manager.hear_main(), (alone, alone));
    assert_eq!(manager.hear_about("RELOADING=1\nMONOTONIC_USEC=").sender, alone);
    // Whoever comes next waits for nobody, as the one before it is dead.
    let (mut named, mut ready) = (None, None);
    while named.is_none() || ready.is_none() {
        let heard = manager.hear_news();
        if heard.text.starts_with("MAINPID=") {
            named = Some((heard.sender, heard.main()));
        } else if heard.text.starts_with("READY=1\n") {
            ready = Some(heard.sender);
        }
    }
    let ready = ready.expect("it was heard");
    assert_eq!(named, Some((alone, parent(ready))));
    until("the end", || (proxy.process().living() == [ready]).then_some(()));
}

#[test]
fn a_manager_that_does_not_answer_delays_a_restart_but_no_more() {
    let Some((_database, proxy, manager)) = managed() else { return };
    // Nobody reads: the queue is full after some keep-alives, and the barrier is never met.
    let before = proxy.pid();
    let after = proxy.restart_by_signal();
    assert_ne!(before, after);
    drop(manager);
    assert_ne!(proxy.restart_by_signal(), after);
}
