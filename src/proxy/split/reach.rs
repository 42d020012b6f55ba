//! A reader is made ready for a read: opened, told what it lacks, and waited for.

use std::sync::Arc;
use std::time::SystemTime;

use tokio::time::{Instant, timeout_at};

use super::LIMIT;
use super::copies;
use super::rules::Rules;
use crate::config::CausalReads;
use crate::proxy::cluster::Cluster;
use crate::proxy::moves::carrier::{Carrier, Home, Stranded, pull};
use crate::proxy::moves::recruit::Wants;
use crate::proxy::relay::Relay;
use crate::proxy::sessions::handle::{Facts, Handle, Seen};
use crate::session::link::LinkId;
use crate::session::routing::Earlier;
use crate::session::state::variable::Value;
use crate::session::state::{Base, Hidden, State, Subject};
use crate::wire::command::code;
use crate::wire::flavour::Flavour;

/// What it takes to make a reader ready.
pub(super) struct Reach<'a> {
    rules: &'a Rules,
    address: &'a Arc<str>,
    /// Until then the reader is waited for.
    deadline: Instant,
}

/// Why a reader is not ready.
pub(super) enum Unreached {
    /// It is the reader's affair: home will do.
    Reader(String),
    /// The same, and that link is good for nothing any more.
    Broken(LinkId, String),
    /// The home's link is good for nothing any more.
    Home(String),
}

impl From<String> for Unreached {
    fn from(why: String) -> Self {
        Self::Reader(why)
    }
}

impl<'a> Reach<'a> {
    pub(super) fn new(rules: &'a Rules, address: &'a Arc<str>) -> Self {
        Self { rules, address, deadline: Instant::now() + LIMIT }
    }

    /// The link to the reader, which has the session's state and what it wrote; the home has put
    /// away what the next command would have.
    pub(super) async fn make_ready(
        &self,
        relay: &mut Relay,
        handle: &Arc<Handle>,
    ) -> Result<LinkId, Unreached> {
        let (cluster, facts) = self.cluster(handle)?;
        let wants = self.wants(relay, &cluster, &facts)?;
        let joined = relay.session().standpoint().transaction.joined();
        let link = match joined {
            None => self.link(relay, handle, wants).await?,
            Some(joined) if self.open_link(relay).await == Some(joined.link()) => joined.link(),
            Some(_) => return Err("its transaction is lost".to_owned().into()),
        };
        let version = relay.session().standpoint().version;
        let knows = relay.session().conversation().link(link).knows();
        if knows.untold == Some(version) {
            return Err("it cannot be told".to_owned().into());
        }
        if knows.told != Some(version) {
            if must_keep_warnings(relay, link) || must_keep_warnings(relay, LinkId::HOME) {
                return Err("there are warnings that may be asked for".to_owned().into());
            }
            self.tell(relay, handle, (link, version), wants).await?;
            relay.session_mut().handle_told(link, version);
        }
        // In a transaction it is of another time.
        if joined.is_none() {
            self.catch_up(relay, handle, link).await?;
        }
        copies::prepare(relay, link, self.deadline, self.rules).await?;
        self.clear_home(relay, handle).await?;
        Ok(link)
    }

    /// A link to the server, which need not have the session's state.
    pub(super) async fn open_any(
        &self,
        relay: &mut Relay,
        handle: &Arc<Handle>,
    ) -> Result<LinkId, Unreached> {
        let (cluster, facts) = self.cluster(handle)?;
        let wants = self.wants(relay, &cluster, &facts)?;
        self.link(relay, handle, wants).await
    }

    /// The link that there is, or a new one.
    async fn link(
        &self,
        relay: &mut Relay,
        handle: &Handle,
        wants: Wants<'_>,
    ) -> Result<LinkId, Unreached> {
        match self.open_link(relay).await {
            Some(link) => Ok(link),
            None => self.open(relay, handle, wants).await,
        }
    }

    fn cluster(&self, handle: &Handle) -> Result<(Arc<Cluster>, Facts), String> {
        let cluster = self.rules.cluster().ok_or("no such cluster")?;
        Ok((cluster, handle.facts().clone()))
    }

    fn wants<'b>(
        &'b self,
        relay: &Relay,
        cluster: &'b Cluster,
        facts: &'b Facts,
    ) -> Result<Wants<'b>, String> {
        let to = cluster.server(self.address).ok_or("no such server")?;
        let from = cluster.server(&relay.home().server).ok_or("its home is dropped")?;
        let wants = Wants::of(self.rules.shared(), cluster, (from, to), facts);
        wants.ok_or_else(|| "nothing is known of its log-in".to_owned())
    }

    /// The link that there is, unless it is good for nothing any more.
    async fn open_link(&self, relay: &mut Relay) -> Option<LinkId> {
        let at = self.place(relay)?;
        let is_ours = !relay.session().conversation().link(at).knows().is_of_another_user;
        if is_ours && relay.is_alive(at).await {
            return Some(at);
        }
        relay.break_link(at);
        None
    }

    fn place(&self, relay: &Relay) -> Option<LinkId> {
        let mut links = relay.links().iter().enumerate().skip(1);
        links.find(|(_, link)| link.server == *self.address).map(|(at, _)| LinkId::at(at))
    }

    async fn open(
        &self,
        relay: &mut Relay,
        handle: &Handle,
        wants: Wants<'_>,
    ) -> Result<LinkId, Unreached> {
        if wants.is_in_vain() {
            return Err("it wants the password itself, or a proof".to_owned().into());
        }
        let recruit = timeout_at(self.deadline, wants.log_in_for_client()).await;
        let recruit = recruit.map_err(|_| "no log-in in time".to_owned())?;
        let recruit = recruit.map_err(|it| it.to_string())?;
        let (link, state) = recruit
            .into_link(&self.rules.shared().in_force.config())
            .map_err(|it| it.to_string())?;
        let at = self.place(relay);
        let link = relay.put_link(at, link, state, handle);
        relay.publish_connections(handle);
        Ok(link)
    }

    /// Brings the session's state from its home.
    async fn tell(
        &self,
        relay: &mut Relay,
        handle: &Handle,
        (link, version): (LinkId, u32),
        wants: Wants<'_>,
    ) -> Result<(), Unreached> {
        let known = timeout_at(self.deadline, wants.inventories()).await;
        let known = known.map_err(|_| "nothing is known of it in time".to_owned())?;
        let (here, there) = known.map_err(|error| error.to_string())?;
        let services = timeout_at(self.deadline, wants.services(&here, &there)).await;
        let services = services.map_err(|_| "no service account in time".to_owned())?;
        let (mut here_service, mut there_service) = services.map_err(|it| it.to_string())?;
        let is_joined = relay.session().standpoint().transaction.joined().is_some();
        let (home_thread, thread) = (relay.home().thread, relay.links()[link.place()].thread);
        let mut home = Home::of(relay, handle);
        let mut asked = home.carrier(here_service.as_mut());
        let state = of_home(pull(&mut asked, &here, home_thread)).await?;
        let results = of_home(async { Ok(asked.results().await?) }).await?;
        drop(home);
        relay.put_on_record(handle);
        handle.facts().seen = Seen::of(&state.shown(), SystemTime::now());
        if let Some(Value::Number(seconds)) =
            state.variables.get("wait_timeout").map(|it| &it.value)
        {
            self.rules.note_wait_timeout(seconds, version);
        }
        if state.hidden.iter().any(Hidden::keeps_reads) || finds_last_inserted(&state) {
            relay.session_mut().handle_untold(link, version);
            return Err("its state cannot be carried".to_owned().into());
        }
        let mut reader = Carrier::of(relay, link, there_service.as_mut());
        let mut told = self.of_reader(link, pull(&mut reader, &there, thread)).await?;
        let is_known = |name: &Vec<u8>| state.user_variables.contains_key(name);
        if !told.user_variables.keys().all(is_known) {
            if is_joined {
                return Err("it cannot be told in a transaction".to_owned().into());
            }
            // One that was set to NULL has a type, one that was never set has none.
            self.reset(&mut reader, link).await?;
            relay.session_mut().forget_copies(link);
            reader = Carrier::of(relay, link, there_service.as_mut());
            told = self.of_reader(link, pull(&mut reader, &there, thread)).await?;
        }
        let brought = reader.bring(&state, results, &there, Base::Told(&told), thread);
        let mut differences = self.of_reader(link, brought).await?;
        // Who asks for that goes home.
        differences.retain(|it| *it != Subject::LastInsertId);
        match differences.first() {
            None => Ok(()),
            Some(first) => {
                relay.session_mut().handle_untold(link, version);
                Err(Unreached::Reader(format!("it does not take {first}")))
            }
        }
    }

    async fn reset(&self, reader: &mut Carrier<'_>, link: LinkId) -> Result<(), Unreached> {
        let reset = timeout_at(self.deadline, reader.command(code::RESET_CONNECTION, &[])).await;
        let broken = |why: String| Unreached::Broken(link, why);
        reset.map_err(|_| broken("no answer in time".into()))?.map_err(broken)
    }

    /// Waits until the reader has what was written.
    async fn catch_up(
        &self,
        relay: &mut Relay,
        handle: &Handle,
        link: LinkId,
    ) -> Result<(), Unreached> {
        let writes = relay.session().standpoint().writes;
        let has = relay.session().conversation().link(link).knows().has;
        let is_wanted = match self.rules.causal_reads() {
            CausalReads::Off => false,
            CausalReads::Session => writes > 0 && has != Some(writes),
            CausalReads::Cluster => true,
        };
        if !is_wanted {
            return Ok(());
        }
        let cluster = self.rules.cluster().ok_or_else(|| "no such cluster".to_owned())?;
        let limit = cluster.section().causal_reads_timeout.0;
        let version = cluster.version_of(&relay.home().server);
        let flavour = Flavour::of(&version.ok_or_else(|| "its home is not known".to_owned())?);
        // What the whole cluster has acknowledged is at least what this session has.
        let (position, wait): (&[u8], &str) = match flavour.is_mariadb() {
            true => (b"SELECT @@gtid_binlog_pos LIMIT 1", "MASTER_GTID_WAIT"),
            false => (b"SELECT @@global.gtid_executed LIMIT 1", "WAIT_FOR_EXECUTED_GTID_SET"),
        };
        let mut home = Home::of(relay, handle);
        let position = of_home(async { Ok(home.carrier(None).value(position).await?) }).await?;
        drop(home);
        relay.put_on_record(handle);
        // An error is none.
        let position = String::from_utf8_lossy(&position.unwrap_or_default()).replace('\n', "");
        let is_plain = |it: char| it.is_ascii_alphanumeric() || matches!(it, '-' | ':' | ',');
        if position.is_empty() || !position.chars().all(is_plain) {
            return Err(Unreached::Reader("its home has no GTIDs".into()));
        }
        let mut reader = Carrier::of(relay, link, None);
        let sql = format!("SELECT {wait}('{position}', {}) LIMIT 1", limit.as_secs_f64());
        let deadline = self.deadline + limit;
        let waited = async { Ok(reader.value(sql.as_bytes()).await?) };
        let broken = |why| Unreached::Broken(link, why);
        match answered(deadline, waited, broken).await?.as_deref() {
            Some(b"0") => {
                relay.session_mut().handle_caught_up(link);
                Ok(())
            }
            _ => Err(Unreached::Reader("it has not what was written".into())),
        }
    }

    /// Has the home put away its warnings, if a read that goes elsewhere would have.
    async fn clear_home(&self, relay: &mut Relay, handle: &Handle) -> Result<(), Unreached> {
        let command = relay.session().command_ahead(relay.next_command());
        let puts_away = command.earlier_warnings() == Earlier::PutAway;
        let has_some = relay.session().standpoint().home_has_warnings;
        if !puts_away || !has_some || !self.rules.is_mariadb() {
            return Ok(());
        }
        // It uses a table, and nothing that the session has set stands in its way.
        let sql = "SET STATEMENT sql_select_limit = DEFAULT, max_statement_time = 0, \
                   sql_big_selects = 1, max_join_size = 18446744073709551615 \
                   FOR SELECT NULL FROM information_schema.USER_VARIABLES LIMIT 0";
        let mut home = Home::of(relay, handle);
        of_home(async { Ok(home.carrier(None).value(sql.as_bytes()).await?) }).await?;
        drop(home);
        relay.session_mut().handle_no_warnings();
        Ok(())
    }

    async fn of_reader<T>(
        &self,
        link: LinkId,
        asked: impl Future<Output = Result<T, Stranded>>,
    ) -> Result<T, Unreached> {
        answered(self.deadline, asked, |why| Unreached::Broken(link, why)).await
    }
}

/// Whether the next command leaves warnings that a link has of the statements before it: who asks
/// it for the session's state, or tells it, takes them.
fn must_keep_warnings(relay: &Relay, link: LinkId) -> bool {
    let session = relay.session();
    let has_some = session.conversation().link(link).has_warnings();
    let is_last = session.standpoint().asked_at.warnings == link;
    let command = session.command_ahead(relay.next_command());
    has_some && is_last && command.earlier_warnings() != Earlier::PutAway
}

/// What the home was asked.
async fn of_home<T>(asked: impl Future<Output = Result<T, Stranded>>) -> Result<T, Unreached> {
    answered(Instant::now() + LIMIT, asked, Unreached::Home).await
}

/// What a link was asked. Without an answer it is not between two commands: it is `broken`.
async fn answered<T>(
    deadline: Instant,
    asked: impl Future<Output = Result<T, Stranded>>,
    broken: impl Fn(String) -> Unreached,
) -> Result<T, Unreached> {
    match timeout_at(deadline, asked).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(Stranded::State(error))) => Err(Unreached::Reader(error.to_string())),
        Ok(Err(Stranded::Service(error))) => Err(broken(error.to_string())),
        Err(_) => Err(broken("no answer in time".into())),
    }
}

/// With `sql_auto_is_null` a read asks for LAST_INSERT_ID() without a word of it.
fn finds_last_inserted(state: &State) -> bool {
    let variable = state.variables.get("sql_auto_is_null");
    variable.is_some_and(|variable| match &variable.value {
        Value::Null => false,
        Value::Number(digits) => digits != b"0",
        Value::Text(text) => text != b"OFF",
    })
}
