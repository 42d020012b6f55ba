//! Limits for each user and each address: sessions at a time, and connects a second. For each
//! tenant: sessions at a time.
//!
//! Everybody is counted, whether there is a limit or not, so that one that is set while the proxy
//! runs counts those who are here already. Invariant: whoever is counted has a [`Seat`] that will
//! be given back; who has none and may connect at once again is forgotten. Sessions of the other
//! generation are told by the caller. Rates start afresh with each process: a restart may let in a
//! second's worth more, once.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::config::ProxySection;
use crate::error::ClientError;
use crate::lock::lock;

/// So many may be remembered for their rate alone before anybody is looked for to be forgotten.
const FEW: usize = 1024;

/// What counts for one user, or for one address; 0 is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Allowance {
    /// Sessions at a time.
    pub sessions: usize,
    /// Connects a second.
    pub connects_per_second: u32,
}

/// The allowances in force.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Allowances {
    /// Of each user.
    pub user: Allowance,
    /// Of each address.
    pub address: Allowance,
}

impl Allowances {
    /// Those of a config.
    pub fn of(config: &ProxySection) -> Self {
        let allowance = |sessions, connects_per_second| Allowance { sessions, connects_per_second };
        Self {
            user: allowance(config.max_user_connections, config.max_user_connects_per_second),
            address: allowance(
                config.max_address_connections,
                config.max_address_connects_per_second,
            ),
        }
    }
}

/// Which limit was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Excess {
    Sessions,
    Rate(u32),
}

/// Where a session is counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seat {
    /// At its user's, once it has logged in. All sessions of a user share one text.
    pub user: Option<Arc<str>>,
    /// At its tenant's, if it has one.
    pub tenant: Option<Arc<str>>,
    /// At its address's.
    pub address: Option<IpAddr>,
}

/// Who is here, by user, by tenant and by address.
#[derive(Debug, Default)]
pub struct Limits(Mutex<All>);

#[derive(Debug, Default)]
struct All {
    users: Crowds<Arc<str>>,
    tenants: Crowds<Arc<str>>,
    addresses: Crowds<IpAddr>,
}

impl Limits {
    /// Counts a connection at its address, and no longer at the one it was thought to be from; or
    /// says why not. `others`: sessions from there that another generation has.
    pub fn enter(
        &self,
        seat: &mut Seat,
        address: IpAddr,
        others: usize,
        allowance: Allowance,
        now: Instant,
    ) -> Result<(), ClientError> {
        if seat.address == Some(address) {
            return Ok(());
        }
        let mut all = lock(&self.0);
        let entered = all.addresses.enter(address, others, allowance, now);
        entered.map_err(|excess| match excess {
            Excess::Sessions => {
                let who = format!("Address {address}");
                ClientError::too_many_connections(&who, "max_address_connections")
            }
            Excess::Rate(limit) => {
                let who = format!("Address '{address}'");
                ClientError::too_many_connects(&who, "max_address_connects_per_second", limit)
            }
        })?;
        if let Some(before) = seat.address.replace(address) {
            all.addresses.leave(&before);
        }
        Ok(())
    }

    /// Whether a user could log in now, though it does not yet: the password is not known to be
    /// right. Who only claims to be somebody must not use up what that one may.
    pub fn has_room(
        &self,
        user: &str,
        others: usize,
        allowance: Allowance,
        now: Instant,
    ) -> Result<(), ClientError> {
        let all = lock(&self.0);
        let judged = all.users.judge(user, others, allowance, now);
        judged.map(drop).map_err(|excess| of_user(user, excess))
    }

    /// Counts a session at the user who has just proved to be it, or says why not.
    pub fn log_in(
        &self,
        seat: &mut Seat,
        user: &str,
        others: usize,
        allowance: Allowance,
        now: Instant,
    ) -> Result<(), ClientError> {
        let entered = lock(&self.0).users.enter(user.into(), others, allowance, now);
        seat.user = Some(entered.map_err(|excess| of_user(user, excess))?);
        Ok(())
    }

    /// As [`Self::has_room`] for a tenant, which may have so many sessions.
    pub fn has_room_in(&self, tenant: &str, others: usize, most: usize) -> Result<(), ClientError> {
        let allowance = Allowance { sessions: most, ..Allowance::default() };
        let judged = lock(&self.0).tenants.judge(tenant, others, allowance, Instant::now());
        judged.map(drop).map_err(|_| of_tenant(tenant))
    }

    /// Counts a session at the tenant whose user it has proved to be, or says why not.
    pub fn join(
        &self,
        seat: &mut Seat,
        tenant: &str,
        others: usize,
        most: usize,
    ) -> Result<(), ClientError> {
        let allowance = Allowance { sessions: most, ..Allowance::default() };
        let (tenant_text, now) = (tenant.into(), Instant::now());
        let entered = lock(&self.0).tenants.enter(tenant_text, others, allowance, now);
        seat.tenant = Some(entered.map_err(|_| of_tenant(tenant))?);
        Ok(())
    }

    /// Counts a session that comes from another generation: it was let in there.
    pub fn resume(&self, user: &str, tenant: Option<String>, address: Option<IpAddr>) -> Seat {
        let mut all = lock(&self.0);
        Seat {
            user: Some(all.users.add(user.into()).0),
            tenant: tenant.map(|tenant| all.tenants.add(tenant.into()).0),
            address: address.map(|address| all.addresses.add(address).0),
        }
    }

    /// A session may have become another user's, by COM_CHANGE_USER, and another tenant's; the text
    /// of that user. The server has agreed to that already: it is counted, never refused.
    pub fn rename(&self, seat: &mut Seat, user: &str, tenant: Option<String>) -> Arc<str> {
        let Some(before) = &mut seat.user else { return user.into() };
        let mut all = lock(&self.0);
        if **before != *user {
            let (user, _) = all.users.add(user.into());
            all.users.leave(&*std::mem::replace(before, user));
        }
        let user = before.clone();
        if seat.tenant.as_deref() != tenant.as_deref() {
            let tenant = tenant.map(|tenant| all.tenants.add(tenant.into()).0);
            let before = std::mem::replace(&mut seat.tenant, tenant);
            before.iter().for_each(|tenant| all.tenants.leave(&**tenant));
        }
        user
    }

    /// A session is over, or counted elsewhere.
    pub fn leave(&self, seat: Seat) {
        let mut all = lock(&self.0);
        seat.user.iter().for_each(|user| all.users.leave(&**user));
        seat.tenant.iter().for_each(|tenant| all.tenants.leave(&**tenant));
        seat.address.iter().for_each(|address| all.addresses.leave(address));
    }
}

fn of_tenant(tenant: &str) -> ClientError {
    ClientError::too_many_connections(&format!("Tenant {tenant}"), "max_connections")
}

fn of_user(user: &str, excess: Excess) -> ClientError {
    match excess {
        Excess::Sessions => {
            ClientError::too_many_connections(&format!("User {user}"), "max_user_connections")
        }
        Excess::Rate(limit) => {
            let who = format!("User '{user}'");
            ClientError::too_many_connects(&who, "max_user_connects_per_second", limit)
        }
    }
}

/// All users, all tenants, or all addresses.
#[derive(Debug)]
struct Crowds<K> {
    all: HashMap<K, Crowd>,
    /// At this size those that need not be remembered are forgotten.
    sweep_at: usize,
}

/// One user, one tenant, or one address.
#[derive(Clone, Copy, Debug, Default)]
struct Crowd {
    sessions: usize,
    /// When the bucket will be full again; None: it is. See [`Crowd::next`].
    full_at: Option<Instant>,
}

impl<K> Default for Crowds<K> {
    fn default() -> Self {
        Self { all: HashMap::new(), sweep_at: FEW }
    }
}

impl<K: Clone + Hash + Eq> Crowds<K> {
    fn judge<Q>(
        &self,
        key: &Q,
        others: usize,
        allowance: Allowance,
        now: Instant,
    ) -> Result<Option<Instant>, Excess>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let crowd = self.all.get(key).copied().unwrap_or_default();
        crowd.next(others, allowance, now)
    }

    /// The key as it is known here.
    fn enter(
        &mut self,
        key: K,
        others: usize,
        allowance: Allowance,
        now: Instant,
    ) -> Result<K, Excess> {
        let full_at = self.judge(&key, others, allowance, now)?;
        if self.all.len() >= self.sweep_at {
            self.sweep(now);
        }
        let (key, crowd) = self.add(key);
        crowd.full_at = full_at;
        Ok(key)
    }

    /// The same without a word of limits.
    fn add(&mut self, key: K) -> (K, &mut Crowd) {
        let entry = self.all.entry(key);
        let known = entry.key().clone();
        let crowd = entry.or_default();
        crowd.sessions += 1;
        (known, crowd)
    }

    fn leave<Q>(&mut self, key: &Q)
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let Some(crowd) = self.all.get_mut(key) else { return };
        crowd.sessions -= 1;
        // One with a bucket that is not full is found when there are many of them.
        if crowd.sessions == 0 && crowd.full_at.is_none() {
            self.all.remove(key);
        }
    }

    /// Forgets who is not here and may connect as if never seen. What is left has a session, or
    /// has connected within the last second: all are bounded by what else a proxy can hold.
    fn sweep(&mut self, now: Instant) {
        self.all.retain(|_, crowd| crowd.sessions > 0 || crowd.full_at.is_some_and(|at| at > now));
        self.sweep_at = (self.all.len() * 2).max(FEW);
        self.all.shrink_to(self.sweep_at);
    }
}

impl Crowd {
    /// What one more makes of the bucket, or why there is no room for it.
    ///
    /// A bucket of one second's tokens, kept as the instant when it will be full: each connect puts
    /// that off by a token's time, and is too early if that makes it more than a second away.
    fn next(
        self,
        others: usize,
        allowance: Allowance,
        now: Instant,
    ) -> Result<Option<Instant>, Excess> {
        let Allowance { sessions, connects_per_second } = allowance;
        if sessions > 0 && self.sessions + others >= sessions {
            return Err(Excess::Sessions);
        }
        if connects_per_second == 0 {
            return Ok(None);
        }
        const BUCKET: Duration = Duration::from_secs(1);
        let full_at = self.full_at.map_or(now, |at| at.max(now)) + BUCKET / connects_per_second;
        match full_at - now > BUCKET {
            true => Err(Excess::Rate(connects_per_second)),
            false => Ok(Some(full_at)),
        }
    }
}

#[cfg(test)]
mod tests;
