//! The console of a large fleet: how fast its Overview comes, how much that is, and what browsers
//! cost that stay on it: while nothing happens, and while clients come and go at every proxy.
//!
//! A browser does here what the page has it do: it listens to events, and asks for those parts
//! whose triggers have come, each on a connection of its own, as HTTP is spoken there.
//!
//! One process is all of the other proxies: what they tell costs as much as if they were many, but
//! it has no sessions. `--sessions` says how many the proxy has that is looked at.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::client::Client;
use crate::machine::Database;
use crate::process::{Usage, wait_for};
use crate::proxies::{ADMIN, Kind, Proxy};
use crate::{Figures, Outcome, Scale, joined};

/// Proxies of the fleet.
const PROXIES: usize = 50;

/// Browsers on its page.
const BROWSERS: usize = 50;

/// How often the page is asked for.
const LOOKS: usize = 100;

/// Longer than any answer takes, and than it is quiet between two events.
const PATIENCE: Duration = Duration::from_secs(30);

/// Clients that come, and then go.
const MOST: usize = 16;

/// How long it is from one to the next: less than from one event to the next.
const BETWEEN: Duration = Duration::from_millis(300);

/// The page.
const OVERVIEW: &str = "/clusters/main";

/// The Overview, and browsers on it.
pub(crate) fn overview(kind: &Kind, database: &Database, scale: Scale) -> Outcome<Figures> {
    let [proxy, others] = kind.start_fleet(database, PROXIES)?;
    let pid = proxy.pid().ok_or("it is no proxy")?;
    let mut clients = Vec::with_capacity(scale.sessions);
    for _ in 0..scale.sessions {
        let mut client = proxy.client()?;
        client.rows("SELECT 1")?;
        clients.push(client);
    }
    let visitor = Visitor::log_in(proxy.http)?;
    let known = format!("{PROXIES} of {PROXIES}");
    let (_, page) = wait_for("all proxies", PATIENCE, || {
        let (first, page) = visitor.get(OVERVIEW)?;
        if page.contains(&known) { Ok((first, page)) } else { Err("some are missing".into()) }
    })?;
    let mut firsts = Vec::with_capacity(LOOKS);
    for _ in 0..LOOKS {
        firsts.push(visitor.get(OVERVIEW)?.0.as_secs_f64() * 1e3);
    }
    firsts.sort_by(f64::total_cmp);
    let mut weight = page.len();
    for asset in links(&page) {
        weight += visitor.weigh(asset)?;
    }
    let quiet = browse(&visitor, &page, pid, scale.window, &[])?;
    let busy = browse(&visitor, &page, pid, scale.window, &[&proxy, &others])?;
    clients.into_iter().try_for_each(Client::quit)?;
    Ok(vec![
        ("sessions", scale.sessions as f64),
        ("first byte ms", firsts[LOOKS / 2]),
        ("worst ms", firsts[LOOKS - 1]),
        ("KB", weight as f64 / 1e3),
        ("CPU %, 50 browsers", quiet),
        ("and clients come", busy),
    ])
}

/// What of one CPU the browsers cost, while clients come to these proxies.
fn browse(
    visitor: &Visitor,
    page: &str,
    pid: u32,
    window: Duration,
    busy: &[&Proxy],
) -> Outcome<f64> {
    let parts = parts(page);
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let browser = || visitor.stay(&parts, &is_over);
        let browsers: Vec<_> = (0..BROWSERS).map(|_| scope.spawn(browser)).collect();
        let coming: Vec<_> =
            busy.iter().map(|proxy| scope.spawn(|| come_and_go(proxy, &is_over))).collect();
        // All of them are told first how everything is.
        std::thread::sleep(window);
        let (before, began) = (Usage::of(pid)?, Instant::now());
        std::thread::sleep(window);
        let used = Usage::of(pid)?.since(before).cpu.as_secs_f64();
        let share = 100.0 * used / began.elapsed().as_secs_f64();
        is_over.store(true, Ordering::Relaxed);
        browsers.into_iter().chain(coming).try_for_each(joined)?;
        Ok(share)
    })
}

/// Sees to it that a proxy never has as many clients as when it was last asked.
fn come_and_go(proxy: &Proxy, is_over: &AtomicBool) -> Outcome<()> {
    let mut clients = Vec::new();
    while !is_over.load(Ordering::Relaxed) {
        if clients.len() == MOST {
            clients.drain(..).try_for_each(Client::quit)?;
        }
        clients.push(proxy.client()?);
        std::thread::sleep(BETWEEN);
    }
    clients.into_iter().try_for_each(Client::quit)
}

/// Somebody who has logged in.
struct Visitor {
    address: SocketAddr,
    cookie: String,
}

impl Visitor {
    fn log_in(address: SocketAddr) -> Outcome<Self> {
        let body = format!("user={}&password={}", ADMIN.user, ADMIN.password);
        let request = format!(
            "POST /login HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Type: \
             application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let (_, answer) = exchange(address, &request)?;
        let answer = String::from_utf8_lossy(&answer);
        let (_, cookie) = answer.split_once("set-cookie: ").ok_or("log-in: no cookie")?;
        let cookie = cookie.split(';').next().unwrap_or_default().to_owned();
        Ok(Self { address, cookie })
    }

    /// How long the first byte took, and the body.
    fn get(&self, path: &str) -> Outcome<(Duration, String)> {
        let (first, answer) = exchange(self.address, &self.request(path, "close"))?;
        let answer = String::from_utf8_lossy(&answer);
        let (head, body) = answer.split_once("\r\n\r\n").ok_or("no answer")?;
        match head.starts_with("HTTP/1.1 200") {
            true => Ok((first, body.to_owned())),
            false => Err(format!("{path}: {head}").into()),
        }
    }

    /// How many bytes of a body come.
    fn weigh(&self, path: &str) -> Outcome<usize> {
        let (_, answer) = exchange(self.address, &self.request(path, "close"))?;
        let end = answer.windows(4).position(|it| it == b"\r\n\r\n").ok_or("no answer")?;
        match answer.starts_with(b"HTTP/1.1 200") {
            true => Ok(answer.len() - end - 4),
            false => Err(format!("{path}: {}", String::from_utf8_lossy(&answer)).into()),
        }
    }

    fn request(&self, path: &str, connection: &str) -> String {
        let Self { address, cookie } = self;
        format!(
            "GET {path} HTTP/1.1\r\nHost: {address}\r\nCookie: {cookie}\r\nAccept-Encoding: \
             gzip, deflate, br, zstd\r\nConnection: {connection}\r\n\r\n"
        )
    }

    /// Stays on the page.
    fn stay(&self, parts: &[Part], is_over: &AtomicBool) -> Outcome<()> {
        let stream = TcpStream::connect(self.address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        (&stream).write_all(self.request("/api/v1/events", "keep-alive").as_bytes())?;
        let mut asked: HashMap<&str, Instant> = HashMap::new();
        for line in BufReader::new(stream).lines() {
            if is_over.load(Ordering::Relaxed) {
                break;
            }
            let line = line?;
            let Some(event) = line.strip_prefix("event: ") else { continue };
            for Part { path, triggers } in parts {
                let Some((_, rest)) = triggers.iter().find(|(kind, _)| kind == event) else {
                    continue;
                };
                let last = asked.get(path.as_str());
                if last.is_none_or(|last| last.elapsed() >= *rest) {
                    self.get(path)?;
                    asked.insert(path, Instant::now());
                }
            }
        }
        Ok(())
    }
}

/// A part of a page that is kept up to date: by which events, and how often at most.
struct Part {
    path: String,
    triggers: Vec<(String, Duration)>,
}

fn parts(page: &str) -> Vec<Part> {
    let found = page.split("hx-get=\"").skip(1).filter_map(|rest| {
        let (path, rest) = rest.split_once('"')?;
        let (_, triggers) = rest.split_once("hx-trigger=\"")?;
        let (triggers, _) = triggers.split_once('"')?;
        let trigger = |text: &str| {
            let kind = text.trim().strip_prefix("sse:")?.split(' ').next()?.to_owned();
            let throttle = text.split_once("throttle:").and_then(|(_, it)| it.strip_suffix('s'));
            let rest = throttle.and_then(|it| it.trim().parse().ok()).unwrap_or(0);
            Some((kind, Duration::from_secs(rest)))
        };
        let triggers = triggers.split(',').filter_map(trigger).collect();
        Some(Part { path: path.replace("&amp;", "&"), triggers })
    });
    found.collect()
}

/// What a page loads.
fn links(page: &str) -> impl Iterator<Item = &str> {
    let found = page.split("=\"/assets/").skip(1).filter_map(|rest| rest.split('"').next());
    found.filter_map(move |name| {
        let at = page.find(&format!("/assets/{name}"))?;
        page.get(at..at + "/assets/".len() + name.len())
    })
}

/// How long the first byte took, and the answer to its end.
fn exchange(address: SocketAddr, request: &str) -> Outcome<(Duration, Vec<u8>)> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let began = Instant::now();
    stream.write_all(request.as_bytes())?;
    let mut answer = vec![0];
    stream.read_exact(&mut answer)?;
    let first = began.elapsed();
    stream.read_to_end(&mut answer)?;
    Ok((first, answer))
}
