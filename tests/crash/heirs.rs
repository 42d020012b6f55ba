//! What a proxy that comes after a crash cannot have any more, or cannot bear: sessions go on
//! without.

use std::path::Path;

use nix::sys::signal::Signal;

use crate::scene::Scene;
use crate::support::database::PASSWORD;
#[cfg(feature = "crash-points")]
use crate::support::may_look_into_proxies;
use crate::support::pki::Pki;
use crate::support::proxy::is_haproxy;
use crate::support::{Database, Login, Server, Wire, scratch, until};

/// A proxy with TLS on both legs; its certificate is spoiled like this, the proxy killed, and the
/// certificate as it was.
fn goes_on_without_its_certificate(spoil: impl Fn(&Path)) {
    if is_haproxy() {
        return;
    }
    let dir = scratch();
    let files = Pki::new().write(dir.path());
    let of_server = files.of_server();
    let of_server: Vec<&str> = of_server.iter().map(String::as_str).collect();
    let Some(database) = Database::start_with(Server::MariaDb, &of_server) else { return };
    let scene = Scene::before(database, |options| options.rest = files.of_proxy("require"));
    let open = |tls| Wire::open(&scene.proxy.address(), &Login { tls, ..Login::default() });
    let mut sessions = [open(true), open(false)].map(|wire| wire.expect("takes clients"));
    sessions.iter_mut().for_each(|wire| drop(wire.run("SET @kept = 'yes'")));
    let certificate = std::fs::read(&files.server).expect("it is there");
    spoil(&files.server);
    for _ in 0..2 {
        scene.kill(Signal::SIGKILL);
        let crash = &scene.crashes()[0];
        assert_eq!((&crash["sessions"][..], &crash["resumed"][..]), ("2", "2"), "{crash:?}");
        for wire in &mut sessions {
            assert_eq!(wire.run("SELECT @kept").text(), "yes");
        }
    }
    assert!(open(true).is_err(), "nobody has a certificate to show");
    assert_eq!(open(false).expect("it needs none").run("SELECT 1").text(), "1");
    assert!(scene.proxy.log().contains("tls.client.certificate"), "{}", scene.proxy.log());
    std::fs::write(&files.server, certificate).expect("the directory is ours");
    scene.proxy.process().signal(Signal::SIGHUP);
    let mut late = until("the certificate to be read again", || open(true).ok());
    assert_eq!(late.run("SELECT 2").text(), "2");
}

#[test]
fn a_certificate_that_is_gone_ends_no_session() {
    goes_on_without_its_certificate(|path| std::fs::remove_file(path).expect("it is there"));
}

#[test]
fn a_certificate_that_is_none_any_more_ends_no_session() {
    goes_on_without_its_certificate(|path| std::fs::write(path, "garbage").expect("it is ours"));
}

/// The config itself, and a password that it does not have in its text.
#[test]
fn files_that_are_gone_end_no_session() {
    if is_haproxy() {
        return;
    }
    let dir = scratch();
    let password = dir.path().join("password");
    std::fs::write(&password, PASSWORD).expect("the directory is ours");
    let Some(database) = Database::start(Server::MariaDb) else { return };
    let scene = Scene::before(database, |options| {
        let file = password.display();
        options.cluster = format!("service_user = 'odp'\nservice_password_file = '{file}'\n");
    });
    let mut innocents = scene.innocents(5);
    std::fs::remove_file(&password).expect("it is there");
    std::fs::remove_file(scene.proxy.config()).expect("it is there");
    for _ in 0..2 {
        scene.kill(Signal::SIGKILL);
        scene.ask_all(&mut innocents);
    }
    assert_eq!(scene.crashes()[0]["lost"], "0");
}

/// He is about to take sessions up, and waits for a file, when his keeper dies.
#[test]
#[cfg(feature = "crash-points")]
fn an_heir_that_loses_its_keeper_before_it_serves_goes_on() {
    use nix::sys::signal::kill;
    use nix::sys::stat::Mode;
    use nix::unistd::{Pid, mkfifo};

    if !may_look_into_proxies() {
        return;
    }
    let dir = scratch();
    let [file, fifo] = ["panic", "fifo"].map(|name| dir.path().join(name));
    std::fs::write(&file, "").expect("the directory is ours");
    mkfifo(&fifo, Mode::S_IRWXU).expect("the directory is ours");
    let path = file.to_str().expect("UTF-8").to_owned();
    let start = |path| {
        Scene::start_with(|options| options.environment = vec![("ODP_PANIC_IN".into(), path)])
    };
    let Some(scene) = start(path) else { return };
    let mut innocents = scene.innocents(5);
    let (keeper, carrier) = (scene.proxy.process().pid(), scene.carrier());
    let slay = |pid: u32| kill(Pid::from_raw(pid as i32), Signal::SIGKILL).expect("it lives");
    std::fs::rename(&fifo, &file).expect("the directory is ours");
    slay(carrier);
    let heir = until("the heir", || match scene.proxy.process().all_living()[..] {
        [first, second] if first == keeper && second != carrier => Some(second),
        _ => None,
    });
    slay(keeper);
    // It can be opened then, and has an end when nobody has it open for writing any more.
    let writer = std::fs::File::options().read(true).write(true).open(&file);
    until("the heir to read", || {
        let mut open = std::fs::read_dir(format!("/proc/{heir}/fd")).ok()?.flatten();
        let is_it =
            |fd: std::fs::DirEntry| std::fs::read_link(fd.path()).is_ok_and(|path| path == file);
        open.any(is_it).then_some(())
    });
    std::fs::write(&fifo, "").expect("the directory is ours");
    std::fs::rename(&fifo, &file).expect("the directory is ours");
    drop(writer.expect("it is ours"));
    until(&format!("a new pair\n{}", scene.proxy.log()), || {
        let living = scene.proxy.process().all_living();
        let is_new = living.len() == 2 && !living.contains(&heir) && !living.contains(&keeper);
        (is_new && scene.proxy.http_status("/readyz") == Some(200)).then_some(())
    });
    scene.ask_all(&mut innocents);
    let crash = &scene.crashes()[0];
    assert_eq!((&crash["resumed"][..], &crash["lost"][..]), ("5", "0"), "{crash:?}");
}

/// Whoever takes sessions up panics at one of them: only that one is lost.
#[test]
#[cfg(feature = "crash-points")]
fn a_session_that_cannot_be_taken_up_is_lost_alone() {
    let dir = scratch();
    let file = dir.path().join("panic");
    std::fs::write(&file, "").expect("the directory is ours");
    let path = file.to_str().expect("UTF-8").to_owned();
    let start = |path| {
        Scene::start_with(|options| options.environment = vec![("ODP_PANIC_IN".into(), path)])
    };
    let Some(scene) = start(path) else { return };
    let mut innocents = scene.innocents(10);
    std::fs::write(&file, "recovery").expect("the directory is ours");
    scene.kill(Signal::SIGKILL);
    let (crash, deaths) = (&scene.crashes()[0], scene.crashes().len());
    assert_eq!(
        (&crash["sessions"][..], &crash["resumed"][..], deaths),
        ("10", "9", 1),
        "{crash:?}"
    );
    assert_eq!(crash["reasons"], "the proxy died of it: 1");
    let gone_on = innocents.iter_mut().enumerate().filter_map(|(n, wire)| {
        let reply = wire.try_query("SELECT @n").ok()?;
        (reply.text() == n.to_string()).then_some(())
    });
    assert_eq!(gone_on.count(), 9);
    assert_eq!(scene.admin().query("SHOW PROXYSESSION").row_count(), 9);
}
