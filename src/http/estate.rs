//! This proxy and all others of its fleet, as far as somebody has looked.

use std::sync::Arc;

use super::door;
use super::fleet::others;
use super::reply::Problem;
use super::service::Http;
use crate::admin::{Caller, Table};

/// All proxies as of [`door::proxies`]: the one that answers, and as far as it is known the others
/// of its fleet, by their names.
pub(super) async fn proxies(http: &Http, caller: &Caller) -> Result<Table, Problem> {
    let mut all = door::proxies(&http.admin, caller).await?;
    if let Some(members) = heard(http, caller).await {
        all.rows.extend(others(&members));
    }
    Ok(all)
}

/// What was heard of the members last, a moment ago at most, or hears it now; None: there is no
/// fleet, or nobody knows which proxies it has.
pub(super) async fn heard(http: &Http, caller: &Caller) -> Option<Arc<Table>> {
    let members = http.look.heard(caller).await?.proxies.ok()?;
    (!members.rows.is_empty()).then_some(members)
}
