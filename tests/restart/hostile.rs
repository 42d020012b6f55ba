//! Local users who wish us ill, at the handover socket and at its directory: they get no descriptor
//! and no state, and no restart waits for them.

use std::fs::Permissions;
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::os::unix::net::UnixListener;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{MemfdFlags, memfd_create};
use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType, connect, recvmsg,
    sendmsg, socket_with,
};
use rustix::process::{Resource, Rlimit};

use crate::scene::{Scene, restart, said, take_over};
use crate::support::proxy::{Options, config_text};
use crate::support::user::{NOBODY, as_nobody, may_become_nobody};
use crate::support::{LIMIT, Process, Proxy, scratch, skip, until};

/// More than the proxy hears out at the same time.
const MANY: usize = 40;

const HELLO: &str = r#"{"kind":"HELLO","versions":{"min":1,"max":1},"pid":1,"nofile":100000}"#;

/// What a visitor does.
#[derive(Clone, Copy, Debug)]
enum Deed {
    Silence,
    Garbage,
    HalfAHello,
    ManyDescriptors,
    MemfdWithoutSeals,
    Hello,
}

/// All that no visitor may get anything for.
const MISDEEDS: [Deed; 4] =
    [Deed::Garbage, Deed::HalfAHello, Deed::ManyDescriptors, Deed::MemfdWithoutSeals];

/// Connects to a door.
fn knock(door: &Path) -> Result<OwnedFd, Errno> {
    let address = SocketAddrUnix::new(door)?;
    let flags = SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
    set_socket_timeout(&socket, Timeout::Recv, Some(LIMIT))?;
    set_socket_timeout(&socket, Timeout::Send, Some(LIMIT))?;
    connect(&socket, &address)?;
    Ok(socket)
}

fn send(socket: &OwnedFd, bytes: &[u8], fds: &[std::os::fd::BorrowedFd<'_>]) -> Result<(), Errno> {
    let mut space = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(fds.len()))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    assert!(fds.is_empty() || control.push(SendAncillaryMessage::ScmRights(fds)));
    sendmsg(socket, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}

fn frame(head: &str) -> Vec<u8> {
    let mut out = Vec::from(b"ODPH\x01\0\0\0");
    out.extend((head.len() as u32).to_le_bytes());
    out.extend([0; 4]);
    out.extend(head.as_bytes());
    out
}

/// Does it. The door may close at any time, so errors are no news.
fn commit(deed: Deed, socket: &OwnedFd) {
    let hello = frame(HELLO);
    let _ = match deed {
        Deed::Silence => Ok(()),
        Deed::Garbage => send(socket, &[0xA5; 5000], &[]),
        Deed::HalfAHello => send(socket, &hello[..hello.len() / 2], &[]),
        Deed::ManyDescriptors => {
            let null = std::fs::File::open("/dev/null").expect("/dev/null");
            send(socket, b"ODPH", &[null.as_fd(); 250])
        }
        Deed::MemfdWithoutSeals => {
            let memfd = memfd_create("mine", MemfdFlags::CLOEXEC).expect("a memfd");
            let announcement = [&b"ODPMEMFD"[..], &u64::MAX.to_le_bytes()].concat();
            send(socket, &announcement, &[memfd.as_fd()])
        }
        Deed::Hello => send(socket, &hello, &[]),
    };
}

/// Reads until the door closes: nothing may come but a refusal.
fn gets_nothing(deed: Deed, socket: &OwnedFd) {
    loop {
        let mut bytes = vec![0; 256 * 1024];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(253))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut slices = [IoSliceMut::new(&mut bytes)];
        let flags = RecvFlags::CMSG_CLOEXEC;
        let received = match recvmsg(socket, &mut slices, &mut control, flags) {
            Ok(received) if received.bytes == 0 => return,
            Ok(received) => received,
            Err(Errno::CONNRESET) => continue,
            Err(error) => panic!("{deed:?}: the door neither answers nor closes: {error}"),
        };
        let rights = control.drain().any(|part| matches!(part, RecvAncillaryMessage::ScmRights(_)));
        assert!(!rights, "{deed:?}: a stranger got descriptors");
        let text = String::from_utf8_lossy(&bytes[..received.bytes]).into_owned();
        assert!(text.contains(r#""kind":"REFUSE""#), "{deed:?}: a stranger was told {text}");
    }
}

fn door(proxy: &Proxy) -> PathBuf {
    proxy.run_dir().join("handover.sock")
}

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, Permissions::from_mode(mode)).expect("it is ours");
}

fn mode(path: &Path) -> u32 {
    std::fs::symlink_metadata(path).expect("it is there").permissions().mode() & 0o7777
}

/// Waits until the newest generation listens there.
fn until_open(proxy: &Proxy) {
    until("the handover socket", || door(proxy).exists().then_some(()));
}

/// Lets everybody through to the door, as a careless administrator might.
fn open_to_all(proxy: &Proxy) {
    until_open(proxy);
    let run_dir = proxy.run_dir();
    set_mode(run_dir.parent().expect("it has one"), 0o755);
    set_mode(&run_dir, 0o711);
    set_mode(&door(proxy), 0o666);
}

fn odp(arguments: &[&str], config: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_odp"));
    command.args(arguments).arg("-c").arg(config);
    command
}

#[test]
fn another_user_gets_nothing_and_stalls_no_restart() {
    if !may_become_nobody() {
        return;
    }
    let Some(mut scene) = Scene::start() else { return };
    until_open(&scene.proxy);
    set_mode(scene.proxy.run_dir().parent().expect("it has one"), 0o755);
    assert_eq!((mode(&scene.proxy.run_dir()), mode(&door(&scene.proxy))), (0o700, 0o600));
    let path = door(&scene.proxy);
    assert_eq!(as_nobody(|| knock(&path).map(drop)), Err(Errno::ACCESS));
    // The modes are one line of defence; the uid of whoever knocks is the next.
    open_to_all(&scene.proxy);
    let reaches = as_nobody(|| match knock(&path) {
        Err(Errno::ACCESS) => false,
        Ok(socket) => {
            gets_nothing(Deed::Silence, &socket);
            true
        }
        Err(error) => panic!("nobody knocks: {error}"),
    });
    if !reaches {
        return skip("nobody cannot reach the directory in which tests keep their files");
    }
    as_nobody(|| {
        for deed in MISDEEDS.into_iter().chain([Deed::Silence, Deed::Hello]) {
            for _ in 0..MANY / 4 {
                let socket = knock(&path).expect("everybody may knock");
                commit(deed, &socket);
                gets_nothing(deed, &socket);
            }
        }
    });
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        // By a thread that is nobody, all the time; between generations there may be no door.
        let flood = scope.spawn(|| as_nobody(|| flood(&path, &stop)));
        restart(&scene.proxy);
        open_to_all(&scene.proxy);
        let successor = take_over(&scene.proxy);
        assert_eq!(scene.waiting.dead(), 0, "{}", successor.log());
        stop.store(true, Ordering::Relaxed);
        assert!(flood.join().expect("the flood ends") > 0);
        assert_eq!(said(&scene.proxy, "a successor knocks"), 1, "ours");
        scene.finish();
        drop(successor);
    });
}

/// Knocks and says a valid HELLO, again and again; how often it was let in to say it.
fn flood(path: &Path, stop: &AtomicBool) -> usize {
    let mut count = 0;
    while !stop.load(Ordering::Relaxed) {
        if let Ok(socket) = knock(path) {
            commit(Deed::Hello, &socket);
            gets_nothing(Deed::Hello, &socket);
            count += 1;
        }
    }
    count
}

#[test]
fn visitors_that_say_nothing_or_nonsense_stall_no_restart() {
    let Some(mut scene) = Scene::start() else { return };
    until_open(&scene.proxy);
    let path = door(&scene.proxy);
    for deed in MISDEEDS {
        for _ in 0..MANY / 4 {
            let socket = knock(&path).expect("it is ours");
            commit(deed, &socket);
            gets_nothing(deed, &socket);
        }
    }
    let silent = || -> Vec<OwnedFd> { (0..MANY).map(|_| knock(&path).expect("ours")).collect() };
    let held = silent();
    restart(&scene.proxy);
    drop(held);
    until_open(&scene.proxy);
    let held = silent();
    let successor = take_over(&scene.proxy);
    drop(held);
    assert_eq!(scene.waiting.dead(), 0, "{}", successor.log());
    scene.finish();
    drop(successor);
}

/// A directory with a config whose `run_dir` is `DIR/run`; the kernel chooses all ports.
fn house() -> tempfile::TempDir {
    let dir = scratch();
    let text = config_text(dir.path(), [0, 0, 0], &Options::new(&["127.0.0.1:1".into()]));
    std::fs::write(dir.path().join("odp.toml"), text).expect("the directory is ours");
    dir
}

/// `odp run --takeover` must end with 1 and a message that names the place.
fn is_refused(dir: &Path, place: &Path, why: &str) {
    let output = odp(&["run", "--takeover"], &dir.join("odp.toml")).output().expect("it runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{errors}");
    let expected = format!("takeover: {}: {why}", place.display());
    assert!(errors.contains(&expected), "expected '{expected}' in: {errors}");
}

/// `odp run` must serve; its log once it does.
fn serves(dir: &Path) -> (Process, String) {
    let command = odp(&["run"], &dir.join("odp.toml"));
    let process = Process::spawn("a cold one", command, &dir.join("log"));
    until("a cold start", || process.log().contains("state=RUNNING").then_some(()));
    let log = process.log();
    (process, log)
}

#[test]
fn a_door_that_is_no_socket_of_ours_is_refused_by_its_name() {
    let Some(scene) = Scene::start() else { return };
    let house = house();
    let (run, config) = (house.path().join("run"), house.path().join("odp.toml"));
    let socket = run.join("handover.sock");
    std::fs::create_dir(&run).expect("a fresh directory");
    set_mode(&run, 0o700);
    // To a real door: whoever could place the link could choose whose sessions are taken.
    symlink(door(&scene.proxy), &socket).expect("a link");
    is_refused(house.path(), &socket, "expected a socket");
    std::fs::remove_file(&socket).expect("ours");
    std::fs::write(&socket, "").expect("ours");
    is_refused(house.path(), &socket, "expected a socket");
    std::fs::remove_file(&socket).expect("ours");
    let other = UnixListener::bind(&socket).expect("a socket");
    is_refused(house.path(), &socket, "not the socket of a proxy");
    set_mode(&run, 0o777);
    is_refused(house.path(), &run, "others may write to it (mode 777)");
    drop(other);
    // Who starts cold makes it private and opens a door of its own.
    let (cold, log) = serves(house.path());
    assert!(log.contains("cold start"), "{log}");
    assert_eq!((mode(&run), mode(&socket)), (0o700, 0o600));
    drop(cold);
    std::fs::remove_dir_all(&run).expect("ours");
    symlink(scene.proxy.run_dir(), &run).expect("a link");
    is_refused(house.path(), &run, "expected a directory");
    let (_cold, log) = serves(house.path());
    assert!(log.contains("run_dir: no handover socket"), "{log}");
    assert!(log.contains(&run.display().to_string()), "it is named: {log}");
    assert!(config.exists());
    assert_eq!(said(&scene.proxy, "a successor knocks"), 0, "the other proxy was left alone");
    scene.finish();
}

#[test]
fn a_directory_or_a_door_of_another_user_is_refused_by_its_name() {
    if !may_become_nobody() {
        return;
    }
    let house = house();
    let (run, socket) = (house.path().join("run"), house.path().join("run/handover.sock"));
    std::fs::create_dir(&run).expect("a fresh directory");
    std::os::unix::fs::chown(&run, Some(NOBODY), Some(NOBODY)).expect("we are root");
    is_refused(house.path(), &run, "it belongs to uid 65534, expected 0");
    let (cold, log) = serves(house.path());
    assert!(log.contains("run_dir: no handover socket"), "{log}");
    assert!(log.contains("it belongs to uid 65534, expected 0"), "{log}");
    assert!(!socket.exists(), "no door in a directory of somebody else");
    drop(cold);
    // Ours now, but somebody who could write to it has been there before us.
    std::os::unix::fs::chown(&run, Some(0), Some(0)).expect("we are root");
    set_mode(&run, 0o700);
    let theirs = listen_as_nobody();
    std::fs::rename(theirs.dir.path().join("handover.sock"), &socket).expect("a rename");
    is_refused(house.path(), &socket, "uid 65534 is neither 0 nor root");
    let (_cold, log) = serves(house.path());
    assert!(log.contains("cold start"), "{log}");
    assert_eq!(mode(&socket), 0o600, "replaced by ours");
    assert!(knock(&socket).is_ok());
}

/// A door that nobody listens at, in a directory of its own.
struct Theirs {
    dir: tempfile::TempDir,
    _socket: OwnedFd,
}

fn listen_as_nobody() -> Theirs {
    let dir = scratch();
    let flags = SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None);
    let socket = socket.expect("a socket");
    let address = SocketAddrUnix::new(dir.path().join("handover.sock")).expect("short enough");
    rustix::net::bind(&socket, &address).expect("bound");
    // Who listens is who the other side sees.
    as_nobody(|| rustix::net::listen(&socket, 8)).expect("nobody listens");
    Theirs { dir, _socket: socket }
}

/// A core of the proxy would hold the keys of every session that speaks TLS.
#[test]
fn no_core_is_written() {
    let dir = scratch();
    let mut control = Command::new("sh");
    control.current_dir(dir.path()).args(["-c", "ulimit -c \"$(ulimit -H -c)\"; kill -ABRT $$"]);
    let control = Process::spawn("a process", control, &dir.path().join("log"));
    if !control.wait().core_dumped() {
        return skip("no process here leaves a core");
    }
    // The keeper is as its proxies are at their beginning, and has the memory of their journal.
    for is_pair in [false, true] {
        let mut options = Options::new(&["127.0.0.1:1".into()]);
        options.proxy = format!("crash_protection = {is_pair}\n");
        let proxy = Proxy::start_with(&options);
        assert_eq!(proxy.process().all_living().len(), if is_pair { 2 } else { 1 });
        let pid = rustix::process::Pid::from_raw(proxy.process().pid() as i32);
        let limit = rustix::process::getrlimit(Resource::Core);
        let limit = Rlimit { current: limit.maximum, ..limit };
        rustix::process::prlimit(pid, Resource::Core, limit).expect("it is ours");
        proxy.process().signal(nix::sys::signal::Signal::SIGABRT);
        let status = proxy.process().wait();
        assert_eq!((status.signal(), status.core_dumped()), (Some(6), false), "{status}");
    }
}
