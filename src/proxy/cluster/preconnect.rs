//! Connections that servers have greeted, and that wait: for a client, or for its answer.
//!
//! ```text
//!   greeted in advance ─► spare ─► shown ─► taken by the client that has answered
//!   greeted for a client ───────────┘ └───► given back: time is over, or others want its place
//! ```
//!
//! A client is greeted with a server's own challenge, so that its first answer is the server's to
//! judge, as it would be without us. Invariant: a challenge is shown to one client; who is silent
//! holds one of a few connections, and not for long. Without a place, or when servers are slow to
//! greet, clients are greeted with a challenge of ours.

use std::collections::VecDeque;
use std::mem::take;
use std::os::fd::AsFd as _;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::RecvFlags;

use super::loops::Trail;
use super::server_login::Turn;
use super::{BackendError, Cluster, Greeted, for_clients};
use crate::config::Config;
use crate::lock::lock;
use crate::net::tls::settings::Connector;
use crate::task;
use crate::wire::capability as cap;
use crate::wire::handshake::Greeting;

/// Clients that may have a server's challenge and not have answered it. Old clients have no other
/// way in, so that a pool of theirs that opens at once should fit.
const MOST_SHOWN: usize = 64;

/// How long one may think about it while others wait for its place.
const THOUGHT: Duration = Duration::from_secs(1);

/// And while nobody does: what a TLS handshake over a bad line takes, and less than any server's
/// `connect_timeout`, which is 10 s.
const LONGEST_THOUGHT: Duration = Duration::from_secs(4);

/// Connections that are kept for clients to come, when clients come often.
const MOST_SPARE: usize = 16;

/// How long one is kept.
const SPARE: Duration = Duration::from_secs(2);

/// Clients a second below which none is kept.
const OFTEN: u32 = 50;

/// How long a client waits for a server's greeting, when another one is known.
const WAIT: Duration = Duration::from_secs(1);

/// How long nobody waits for that, once it was in vain.
const REST: Duration = Duration::from_secs(1);

/// How often it is looked whose time is over.
const LOOK: Duration = Duration::from_millis(500);

/// What a client is greeted with.
#[derive(Debug)]
pub struct Challenge {
    /// Without a salt the challenge is to be ours.
    pub greeting: Greeting,
    /// The connection whose challenge it is.
    pub place: Option<Place>,
}

/// A client's place, for a connection whose challenge it is shown. Who drops it gives both back.
#[derive(Debug)]
pub struct Place {
    lobby: Arc<Lobby>,
    number: u64,
}

/// The connections of a cluster that wait.
#[derive(Debug, Default)]
pub(crate) struct Lobby(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// The oldest first.
    spare: VecDeque<(Instant, Greeted)>,
    /// The oldest first.
    places: VecDeque<Taken>,
    /// The next place's number.
    next: u64,
    /// Connections under way that will be spare ones.
    coming: usize,
    rate: Rate,
    /// How long a server takes to greet.
    greeting_takes: Duration,
    /// Until when nobody waits for a server's greeting.
    resting: Option<Instant>,
    /// A task looks whose time is over.
    is_watched: bool,
}

/// A place that is taken.
#[derive(Debug)]
struct Taken {
    number: u64,
    /// The connection, and since when its challenge is shown; None: it is yet to come.
    shown: Option<(Instant, Greeted)>,
}

/// A look at the servers that told nothing.
#[derive(Debug)]
pub(crate) struct Fruitless {
    at: Instant,
    error: Arc<BackendError>,
}

/// A spare connection under way.
struct Coming(Arc<Lobby>);

/// How often clients come: in this second and in the one before.
#[derive(Clone, Copy, Debug, Default)]
struct Rate {
    since: Option<Instant>,
    count: u32,
    before: u32,
}

impl Rate {
    /// One more has come; how many do in a second.
    fn count(&mut self, now: Instant) -> u32 {
        let elapsed = self.since.map(|since| now.saturating_duration_since(since));
        match elapsed {
            Some(elapsed) if elapsed < Duration::from_secs(1) => self.count += 1,
            _ => {
                let is_next = elapsed.is_some_and(|elapsed| elapsed < Duration::from_secs(2));
                let before = if is_next { self.count } else { 0 };
                *self = Self { since: Some(now), count: 1, before };
            }
        }
        self.before.max(self.count)
    }
}

impl State {
    /// A client comes; so many more spare connections are wanted for those behind it.
    fn wanted(&mut self, now: Instant) -> usize {
        let rate = self.rate.count(now);
        if rate < OFTEN || self.resting.is_some() {
            return 0;
        }
        // Twice what comes while a server greets: they do not come evenly.
        let meanwhile = self.greeting_takes.as_secs_f64() * f64::from(rate) * 2.0;
        let wanted = (meanwhile.ceil() as usize).clamp(1, MOST_SPARE);
        wanted.saturating_sub(self.spare.len() + self.coming)
    }

    /// Whether a client may wait for a server to greet it. After a failure one at a time finds out
    /// whether it is worth it again.
    fn may_wait(&mut self, now: Instant) -> bool {
        match self.resting {
            None => true,
            Some(until) if now < until => false,
            Some(_) => {
                self.resting = Some(now + REST);
                true
            }
        }
    }

    /// A place, if there is one, and who has to go for it.
    fn reserve(&mut self, now: Instant) -> (Option<u64>, Option<Taken>) {
        let mut left = None;
        if self.places.len() >= MOST_SHOWN {
            let at = self.places.iter().position(|taken| taken.is_over(now, THOUGHT));
            let Some(at) = at else { return (None, None) };
            left = self.places.remove(at);
        }
        self.next += 1;
        self.places.push_back(Taken { number: self.next, shown: None });
        (Some(self.next), left)
    }

    fn at(&self, number: u64) -> Option<usize> {
        self.places.iter().position(|taken| taken.number == number)
    }

    /// Those whose time is over.
    fn overdue(&mut self, now: Instant) -> Vec<Greeted> {
        let is_over = |since: &Instant| now.saturating_duration_since(*since) >= SPARE;
        let count = self.spare.iter().take_while(|(since, _)| is_over(since)).count();
        let mut overdue: Vec<_> = self.spare.drain(..count).map(|(_, greeted)| greeted).collect();
        let is_over = |taken: &Taken| taken.is_over(now, LONGEST_THOUGHT);
        while let Some(at) = self.places.iter().position(is_over) {
            overdue.extend(self.places.remove(at).and_then(Taken::into_greeted));
        }
        overdue
    }

    fn is_empty(&self) -> bool {
        self.spare.is_empty() && self.places.is_empty()
    }
}

impl Taken {
    fn is_over(&self, now: Instant, limit: Duration) -> bool {
        let since = self.shown.as_ref().map(|(since, _)| *since);
        since.is_some_and(|since| now.saturating_duration_since(since) >= limit)
    }

    fn into_greeted(self) -> Option<Greeted> {
        self.shown.map(|(_, greeted)| greeted)
    }
}

impl Lobby {
    /// Keeps a connection for the first client that wants one.
    pub(crate) fn keep(self: &Arc<Self>, greeted: Greeted) {
        let mut state = lock(&self.0);
        state.spare.push_back((Instant::now(), greeted));
        self.watch(state);
    }

    /// A connection that was kept, if its server still holds it.
    fn spared(&self) -> Option<Greeted> {
        loop {
            // The youngest: its server is the most patient.
            let (_, greeted) = lock(&self.0).spare.pop_back()?;
            if !greeted.server.is_suspect() && greeted.is_silent() {
                return Some(greeted);
            }
        }
    }

    /// A place for a client, if there is one.
    fn reserve(self: &Arc<Self>) -> Option<Place> {
        let mut state = lock(&self.0);
        let (number, left) = state.reserve(Instant::now());
        self.watch(state);
        // What is given back says goodbye, which is not for a lock.
        drop(left);
        number.map(|number| Place { lobby: self.clone(), number })
    }

    /// From now on it is looked whose time is over.
    fn watch(self: &Arc<Self>, mut state: MutexGuard<'_, State>) {
        if !std::mem::replace(&mut state.is_watched, true) {
            drop(state);
            let lobby = self.clone();
            task::keep("lobby", move || look(lobby.clone()));
        }
    }

    /// Gives back all of them.
    pub(crate) fn clear(&self) {
        let mut state = lock(&self.0);
        let all = (take(&mut state.spare), take(&mut state.places));
        drop(state);
        drop(all);
    }

    fn remove(&self, number: u64) -> Option<Greeted> {
        let mut state = lock(&self.0);
        let at = state.at(number)?;
        state.places.remove(at).and_then(Taken::into_greeted)
    }
}

/// Gives back those whose time is over, as long as there are any.
async fn look(lobby: Arc<Lobby>) {
    loop {
        tokio::time::sleep(LOOK).await;
        let mut state = lock(&lobby.0);
        let overdue = state.overdue(Instant::now());
        let is_empty = state.is_empty();
        state.is_watched = !is_empty;
        drop(state);
        drop(overdue);
        if is_empty {
            return;
        }
    }
}

impl Place {
    /// The connection comes whose challenge is shown; false when the place is lost.
    fn show(&self, greeted: Greeted) -> bool {
        let mut state = lock(&self.lobby.0);
        let Some(at) = state.at(self.number) else {
            drop(state);
            drop(greeted);
            return false;
        };
        state.places[at].shown = Some((Instant::now(), greeted));
        true
    }

    /// The connection, now that the client has answered; None if it was given back meanwhile, or
    /// its server is gone.
    pub fn take(self) -> Option<Greeted> {
        let greeted = self.lobby.remove(self.number)?;
        greeted.is_silent().then_some(greeted)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        drop(self.lobby.remove(self.number));
    }
}

impl Drop for Coming {
    fn drop(&mut self) {
        lock(&self.0.0).coming -= 1;
    }
}

impl Greeted {
    /// Whether the server still waits for us: between its greeting and our answer it has nothing to
    /// say but that it goes. The kernel is asked, as it may be another worker that hears of this
    /// connection.
    fn is_silent(&self) -> bool {
        let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
        let peeked = rustix::net::recv(self.dialed.stream.as_fd(), &mut [0; 1][..], flags);
        matches!(peeked, Err(Errno::WOULDBLOCK))
    }
}

impl Cluster {
    /// What to greet a client with that has just come: a server's challenge, if one can be had.
    ///
    /// # Errors
    ///
    /// What the last server failed by, when none was ever heard.
    pub async fn challenge(
        self: &Arc<Self>,
        config: &Arc<Config>,
        tls: Option<&Arc<Connector>>,
        trail: &Trail,
        until: Instant,
    ) -> Result<Challenge, Arc<BackendError>> {
        let connector = tls.map(Arc::as_ref);
        let place = match self.tells_clients() {
            // Whose connection it is stands before the server's greeting.
            true => None,
            false => self.lobby.reserve(),
        };
        if let Some(place) = place {
            self.prepare(config, tls);
            if let Some(greeted) = self.greeted(config, connector, trail, until).await?
                && let Some(greeting) = self.show(&place, greeted)
            {
                return Ok(Challenge { greeting, place: Some(place) });
            }
        }
        let greeting = self.introduce(config, connector, trail, until).await?;
        Ok(Challenge { greeting, place: None })
    }

    /// What to greet a client with; looks what a server says if none was heard yet, until then.
    /// Many who ask at once share one look, and what came of it. The trail tells whether a server
    /// that is looked at is ourselves.
    pub(super) async fn introduce(
        &self,
        config: &Config,
        tls: Option<&Connector>,
        trail: &Trail,
        until: Instant,
    ) -> Result<Greeting, Arc<BackendError>> {
        if let Some(greeting) = self.greeting() {
            return Ok(greeting);
        }
        let asked = Instant::now();
        let mut failure = self.look.lock().await;
        if let Some(greeting) = self.greeting() {
            return Ok(greeting);
        }
        if let Some(Fruitless { at, error }) = &*failure
            && *at >= asked
        {
            return Err(error.clone());
        }
        let mut search = self.search(config, tls, None, until).probing(trail);
        match search.next().await {
            Ok(greeted) => {
                let greeting = for_clients((*greeted.greeting).clone());
                if greeted.dialed.turn == Turn::Greeted && !self.tells_clients() {
                    self.lobby.keep(greeted);
                }
                Ok(greeting)
            }
            Err(error) => {
                let error = Arc::new(error);
                *failure = Some(Fruitless { at: Instant::now(), error: error.clone() });
                Err(error)
            }
        }
    }

    /// A connection whose challenge can be shown.
    async fn greeted(
        &self,
        config: &Config,
        tls: Option<&Connector>,
        trail: &Trail,
        until: Instant,
    ) -> Result<Option<Greeted>, Arc<BackendError>> {
        if let Some(greeted) = self.lobby.spared() {
            return Ok(Some(greeted));
        }
        if !self.is_known() {
            // One of those that wait gets the connection that was made to look.
            self.introduce(config, tls, trail, until).await?;
            if let Some(greeted) = self.lobby.spared() {
                return Ok(Some(greeted));
            }
        }
        let may_wait = lock(&self.lobby.0).may_wait(Instant::now());
        Ok(if may_wait { self.greeted_in_time(config, tls).await } else { None })
    }

    /// Sees to it that there are connections for clients to come.
    fn prepare(self: &Arc<Self>, config: &Arc<Config>, tls: Option<&Arc<Connector>>) {
        let mut state = lock(&self.lobby.0);
        let wanted = state.wanted(Instant::now());
        state.coming += wanted;
        drop(state);
        for _ in 0..wanted {
            let coming = Coming(self.lobby.clone());
            let (cluster, config, tls) = (self.clone(), config.clone(), tls.cloned());
            task::spawn("spare connection", async move {
                let greeted = cluster.greeted_in_time(&config, tls.as_deref()).await;
                drop(coming);
                greeted.into_iter().for_each(|greeted| cluster.lobby.keep(greeted));
            });
        }
    }

    /// The first server that greets in time; what came of it is remembered.
    async fn greeted_in_time(&self, config: &Config, tls: Option<&Connector>) -> Option<Greeted> {
        let start = Instant::now();
        let mut search = self.search(config, tls, None, start + WAIT).only_known();
        let greeted = search.next().await;
        let mut state = lock(&self.lobby.0);
        match greeted {
            Ok(greeted) => {
                // Half of the old, half of the new.
                state.greeting_takes = (state.greeting_takes + start.elapsed()) / 2;
                state.resting = None;
                Some(greeted)
            }
            // Who asks the servers in earnest then hears why.
            Err(_) => {
                state.resting = Some(Instant::now() + REST);
                None
            }
        }
    }

    /// The words of the server, with its challenge, and with what every server that is known can
    /// do.
    fn show(&self, place: &Place, greeted: Greeted) -> Option<Greeting> {
        let mut greeting = (*greeted.greeting).clone();
        greeting.capabilities &= !cap::OF_THE_LEG;
        self.limit(&mut greeting);
        place.show(greeted).then_some(greeting)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(start: Instant, ms: u64) -> Instant {
        start + Duration::from_millis(ms)
    }

    #[test]
    fn nothing_is_kept_for_clients_that_seldom_come() {
        let start = Instant::now();
        // Every so many milliseconds, for three seconds, how many are wanted at the end when a
        // server takes 2 ms to greet.
        for (every, expected) in [(1000, 0), (30, 0), (10, 1), (1, 4)] {
            let mut state = State { greeting_takes: Duration::from_millis(2), ..State::default() };
            let moments = (0..3000).step_by(every).map(|ms| after(start, ms));
            let wanted = moments.map(|now| state.wanted(now)).last();
            assert_eq!(wanted, Some(expected), "every {every} ms");
            assert_eq!(state.wanted(after(start, 6000)), 0, "it was quiet since");
        }
        let mut state = State { greeting_takes: Duration::from_secs(9), ..State::default() };
        let wanted = (0..1000).map(|_| state.wanted(start)).last();
        assert_eq!(wanted, Some(MOST_SPARE), "a slow server");
        state.coming = MOST_SPARE;
        assert_eq!(state.wanted(start), 0, "they are on their way");
        (state.coming, state.resting) = (0, Some(start));
        assert_eq!(state.wanted(start), 0, "not of servers that fail");
    }

    #[test]
    fn one_at_a_time_finds_out_whether_servers_greet_again() {
        let start = Instant::now();
        let mut state = State::default();
        assert!(state.may_wait(start) && state.may_wait(start));
        state.resting = Some(start + REST);
        assert!(!state.may_wait(after(start, 999)));
        assert!(state.may_wait(after(start, 1000)));
        assert!(!state.may_wait(after(start, 1001)));
        assert!(!state.may_wait(after(start, 1999)));
        assert!(state.may_wait(after(start, 2000)));
    }

    #[test]
    fn a_place_is_for_one_client() {
        let now = Instant::now();
        let mut state = State::default();
        let numbers: Vec<_> = (0..MOST_SHOWN).filter_map(|_| state.reserve(now).0).collect();
        assert_eq!(numbers.len(), MOST_SHOWN);
        // Those whose connection is yet to come do not go for others.
        assert_eq!(state.reserve(after(now, 60_000)).0, None);
        assert!(state.overdue(after(now, 60_000)).is_empty());
        let at = state.at(numbers[3]).expect("it was taken");
        state.places.remove(at);
        assert_eq!(state.at(numbers[3]), None);
        let (number, _) = state.reserve(now);
        assert!(number.is_some_and(|number| !numbers.contains(&number)));
    }
}
