//! Who asks: a token, or a log-in to the console that a cookie stands for.
//!
//! Invariant: a [`Visitor`] is in the config at this moment, with the password or token that he
//! has shown. What proves him is compared in constant time, and who fails waits before his address
//! is asked again.

mod failures;
mod sessions;
mod standing;

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use aws_lc_rs::digest::{SHA256, digest};
use hyper::header::{AUTHORIZATION, HOST, HeaderName, ORIGIN, SET_COOKIE};
use subtle::{Choice, ConstantTimeEq as _};

use failures::Failures;
use sessions::Sessions;
use standing::Proof;
pub(super) use standing::Standing;

use super::reply::{Problem, Reply, set};
use super::request::Request;
use crate::admin::{Admin, Caller, Door};
use crate::config::console::sha1_twice;
use crate::config::{AdminUser, Role};

/// The cookie of a log-in.
const COOKIE: &str = "odp_session";

/// So long a log-in counts.
const LOG_IN: Duration = Duration::from_secs(12 * 3600);

/// Whoever asks.
#[derive(Clone, Debug)]
pub(super) struct Visitor {
    pub caller: Caller,
    /// What his pages prove by that they are ours; a token needs no such proof.
    pub csrf: Option<String>,
    /// By what he is somebody.
    proof: Proof,
}

/// What is known of visitors.
pub(super) struct Who {
    sessions: Sessions,
    failures: Failures,
    /// Log-ins that have ended.
    ended: tokio::sync::watch::Sender<u64>,
}

impl Who {
    /// Log-ins are kept in this directory.
    pub(super) fn new(dir: &Path) -> Self {
        let ended = tokio::sync::watch::Sender::new(0);
        Self { sessions: Sessions::new(dir), failures: Failures::default(), ended }
    }

    /// Who asks; None: nobody has said so.
    pub(super) fn visitor(
        &self,
        admin: &Admin,
        request: &Request,
    ) -> Result<Option<Visitor>, Problem> {
        if request.headers.contains_key(AUTHORIZATION) {
            return self.bearer(admin, request).map(Some);
        }
        let Some(secret) = request.cookie(COOKIE) else { return Ok(None) };
        let Some((name, user)) = self.logged_in(admin, secret) else { return Ok(None) };
        let csrf = Some(csrf(secret));
        let peer = address(admin, request);
        let caller = caller(admin, name, peer, user.role, Door::Console);
        Ok(Some(Visitor { caller, csrf, proof: Proof::LogIn(secret.to_owned()) }))
    }

    /// Whose log-in this is, if it counts still.
    fn logged_in(&self, admin: &Admin, secret: &str) -> Option<(String, AdminUser)> {
        let name = self.sessions.user(secret, SystemTime::now())?;
        let user = admin.user(&name)?;
        // A new password ends all log-ins with the old one.
        let counts = self.sessions.proves(secret, &user.stage2()) && user.weakness().is_none();
        counts.then_some((name, user))
    }

    fn bearer(&self, admin: &Admin, request: &Request) -> Result<Visitor, Problem> {
        let peer = address(admin, request);
        self.may_try(&peer)?;
        let field = request.field(AUTHORIZATION).unwrap_or_default();
        let token = field.split_once(' ').filter(|(kind, _)| kind.eq_ignore_ascii_case("bearer"));
        let Some((_, token)) = token else {
            return Err(Problem::nobody("expected Authorization: Bearer TOKEN"));
        };
        let shown = digest(&SHA256, token.trim().as_bytes());
        let config = admin.proxy.config();
        let mut found = None;
        // All of them: how long it takes tells nothing.
        for token in &config.admin.token {
            let hash = token.hash().unwrap_or_default();
            if bool::from(hash.as_slice().ct_eq(shown.as_ref())) {
                found = Some(token);
            }
        }
        let Some(token) = found else {
            self.fails(&peer);
            return Err(Problem::nobody("no such token"));
        };
        let caller = caller(admin, token.name.clone(), peer, token.role, Door::Api);
        let proof = Proof::Token { name: token.name.clone(), hash: shown.as_ref().to_vec() };
        Ok(Visitor { caller, csrf: None, proof })
    }

    /// Somebody logs in; the cookie.
    pub(super) async fn log_in(
        &self,
        admin: &Admin,
        request: &Request,
        name: &str,
        password: &str,
    ) -> Result<Login, Problem> {
        comes_from_here(admin, request)?;
        let peer = address(admin, request);
        self.may_try(&peer)?;
        let user = admin.user(name);
        let role = user.as_ref().map_or(Role::Viewer, |user| user.role);
        // What nobody has is not written down as a name: it may be a password in the wrong field.
        let shown = user.as_ref().map_or("?", |user| user.name.as_str()).to_owned();
        let caller = caller(admin, shown, peer.clone(), role, Door::Console);
        if !proves(user.as_ref(), password) {
            self.fails(&peer);
            tracing::warn!(peer, "console log-in refused");
            admin.audit.note(&caller, "LOG IN", "refused", "wrong name or password").await;
            return Err(Problem::nobody("There is no such user, or the password is another."));
        }
        let Some(user) = user else { return Err(Problem::nobody("nobody")) };
        if let Some(weak) = user.weakness() {
            admin.audit.note(&caller, "LOG IN", "refused", &weak.to_string()).await;
            let text = format!("{name} cannot use the console: {weak}. Change it in the config.");
            return Err(Problem::forbidden(text));
        }
        self.failures.forget(&peer);
        let secret = secret()?;
        let until = SystemTime::now() + LOG_IN;
        let begun = self.sessions.begin(&secret, name, &user.stage2(), until).await;
        begun.map_err(|error| {
            tracing::error!(%error, "console: a log-in cannot be kept");
            let text = format!("the log-in cannot be kept: {error}");
            Problem::new(hyper::StatusCode::SERVICE_UNAVAILABLE, text)
        })?;
        admin.audit.note(&caller, "LOG IN", "done", "").await;
        Ok(Login { secret, is_secure: is_secure(admin, request) })
    }

    /// The log-in of this request ends.
    pub(super) async fn log_out(&self, admin: &Admin, request: &Request, visitor: &Visitor) {
        let Some(secret) = request.cookie(COOKIE).map(str::to_owned) else { return };
        if let Err(error) = self.sessions.end(&secret).await {
            tracing::error!(%error, "console: a log-out cannot be kept");
        }
        self.ended.send_modify(|ended| *ended += 1);
        admin.audit.note(&visitor.caller, "LOG OUT", "done", "").await;
    }

    fn may_try(&self, peer: &str) -> Result<(), Problem> {
        let wait = self.failures.wait(peer, Instant::now());
        wait.map_or(Ok(()), |wait| Err(Problem::later(wait, "too many failures: wait")))
    }

    fn fails(&self, peer: &str) {
        self.failures.note(peer, Instant::now());
    }
}

/// Somebody has logged in.
pub(super) struct Login {
    secret: String,
    is_secure: bool,
}

impl Login {
    /// Gives the cookie.
    pub(super) fn give(&self, reply: &mut Reply) {
        let Self { secret, is_secure } = self;
        let secure = if *is_secure { "; Secure" } else { "" };
        let age = LOG_IN.as_secs();
        let cookie =
            format!("{COOKIE}={secret}; Path=/; Max-Age={age}; HttpOnly; SameSite=Strict{secure}");
        set(reply, SET_COOKIE, &cookie);
    }
}

/// Takes the cookie away.
pub(super) fn take_cookie(reply: &mut Reply) {
    let cookie = format!("{COOKIE}=; Path=/; Max-Age=0; HttpOnly; SameSite=Strict");
    set(reply, SET_COOKIE, &cookie);
}

/// Whether a visitor may change something by this request.
pub(super) fn may_change(
    admin: &Admin,
    request: &Request,
    visitor: &Visitor,
) -> Result<(), Problem> {
    is_ours(admin, request, visitor)?;
    match visitor.caller.role {
        Role::Manager => Ok(()),
        Role::Viewer => Err(Problem::forbidden(viewer(&visitor.caller.user))),
    }
}

/// Whether a request is one of our pages, or of a program.
pub(super) fn is_ours(admin: &Admin, request: &Request, visitor: &Visitor) -> Result<(), Problem> {
    let Some(expected) = &visitor.csrf else { return Ok(()) };
    comes_from_here(admin, request)?;
    let form = request.form()?;
    let shown = request.field(HeaderName::from_static("x-csrf-token"));
    let shown = shown.or(super::request::find(&form, "csrf")).unwrap_or_default();
    match bool::from(shown.as_bytes().ct_eq(expected.as_bytes())) {
        true => Ok(()),
        false => Err(Problem::forbidden(
            "the request does not show the csrf token of your log-in: it may come from another \
             site's page, or from a page of before you logged in",
        )),
    }
}

/// Why somebody may not.
pub(super) fn viewer(name: &str) -> String {
    format!("{name} has the role viewer, which may look and change nothing: it needs manager")
}

/// Browsers say where a request comes from; another site's page may send one, but not say so.
fn comes_from_here(admin: &Admin, request: &Request) -> Result<(), Problem> {
    let foreign = || Problem::forbidden("the request comes from another site's page");
    let site = request.field(HeaderName::from_static("sec-fetch-site"));
    if site.is_some_and(|site| !matches!(site, "same-origin" | "none")) {
        return Err(foreign());
    }
    let Some(origin) = request.field(ORIGIN) else {
        return if request.headers.contains_key(ORIGIN) { Err(foreign()) } else { Ok(()) };
    };
    let host = request.field(HOST).unwrap_or_default();
    let said = last_said(admin, request, "x-forwarded-host").unwrap_or(host);
    let from = origin.split_once("://").map_or("", |(_, from)| from);
    match [host, said].iter().any(|it| from.eq_ignore_ascii_case(it)) {
        true => Ok(()),
        false => Err(Problem::forbidden(format!(
            "the request comes from another site's page, of {origin}, and this is {said}: a \
             reverse proxy is to pass on the Host of its clients, or to say it by X-Forwarded-Host \
             with console.behind_proxy = true"
        ))),
    }
}

/// What who is in front of us has said last by a field, if the config says that there is somebody.
fn last_said<'r>(admin: &Admin, request: &'r Request, field: &'static str) -> Option<&'r str> {
    let is_believed = admin.proxy.config().console.behind_proxy;
    let all = request.headers.get_all(HeaderName::from_static(field));
    let last = all.iter().next_back().filter(|_| is_believed)?;
    last.to_str().ok()?.rsplit(',').next().map(str::trim)
}

/// The same for every page of a log-in; the cookie cannot be told from it.
fn csrf(secret: &str) -> String {
    hex(digest(&SHA256, format!("csrf {secret}").as_bytes()).as_ref())
}

fn secret() -> Result<String, Problem> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes)
        .map_err(|error| Problem::new(hyper::StatusCode::SERVICE_UNAVAILABLE, error.to_string()))?;
    Ok(hex(&bytes))
}

/// Each request needs some: formatting bytes one by one was most of what they cost here.
fn hex(bytes: &[u8]) -> String {
    let digit = |half: u8| char::from(b"0123456789abcdef"[usize::from(half)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

fn caller(admin: &Admin, user: String, peer: String, role: Role, door: Door) -> Caller {
    let connection_id = admin.proxy.next_connection_id();
    Caller { user, peer, role, door, connection_id }
}

/// A user who is not there takes as long as one who is, whatever the config has of him.
fn proves(user: Option<&AdminUser>, password: &str) -> bool {
    let in_clear = user.filter(|user| user.password.is_some());
    let stage2 = match (in_clear, user) {
        (Some(user), _) => user.stage2(),
        (None, user) => {
            // Its hash is not computed: another one is.
            std::hint::black_box(sha1_twice(password));
            user.map_or([0; 20], AdminUser::stage2)
        }
    };
    let shown = sha1_twice(password);
    let is_same: Choice = shown.ct_eq(&stage2);
    user.is_some() && bool::from(is_same)
}

/// Where somebody is: as who is in front of us says, if the config says that there is somebody.
fn address(admin: &Admin, request: &Request) -> String {
    let peer = &request.peer.address;
    let said = last_said(admin, request, "x-forwarded-for");
    if let Some(ip) = said.and_then(|text| text.parse::<IpAddr>().ok()) {
        return ip.to_string();
    }
    peer.parse::<SocketAddr>().map_or_else(|_| peer.clone(), |peer| peer.ip().to_string())
}

/// Whether the browser speaks TLS, with us or with who is in front of us.
fn is_secure(admin: &Admin, request: &Request) -> bool {
    let said = request.field(HeaderName::from_static("x-forwarded-proto"));
    let behind = admin.proxy.config().console.behind_proxy;
    request.peer.is_secure || behind && said == Some("https")
}

#[cfg(test)]
mod tests {
    use crate::config::Config;
    use crate::config::console::hashes;

    use super::*;

    #[test]
    fn who_is_not_there_takes_as_many_hashes_as_who_is() {
        let text = "[[admin.user]]\nname = 'clear'\nrole = 'manager'\npassword = 'right'\n\
                    [[admin.user]]\nname = 'hash'\nrole = 'viewer'\n\
                    password_sha1 = '*2470C0C06DEE42FD1618BB99005ADCA2EC9D1E19'\n\
                    [[cluster]]\nname = 'a'\n[[cluster.server]]\naddress = 'h:1'\n";
        let config = Config::parse(text, "x".as_ref()).expect("a config");
        let [clear, hash] = &config.admin.user[..] else { panic!("two users") };
        let mut counts = Vec::new();
        for (user, password, expected) in [
            (Some(clear), "right", true),
            (Some(clear), "wrong", false),
            (Some(hash), "password", true),
            (Some(hash), "wrong", false),
            (None, "right", false),
            (None, "", false),
        ] {
            let before = hashes();
            assert_eq!(proves(user, password), expected, "{password}");
            counts.push(hashes() - before);
        }
        assert!(counts.iter().all(|count| *count == counts[0]), "{counts:?}");
    }
}
