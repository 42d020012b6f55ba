//! What people see of clusters and servers, with what sessions have to do there.

use std::collections::HashMap;
use std::sync::Arc;

use crate::proxy::cluster::view::ServerView;
use crate::proxy::moves::Shared;
use crate::proxy::sessions::handle::Handle;
use crate::proxy::sessions::trace::Traced;
use crate::proxy::sessions::view::TraceView;
use crate::route::decide::{Kind, Why};
use crate::route::topology::ServerId;

/// Every server of every cluster, and how many connections sessions have to it.
pub(super) fn servers(shared: &Shared) -> Vec<(ServerView, usize)> {
    let mut on: HashMap<[Arc<str>; 2], (usize, u64, u64)> = HashMap::new();
    for handle in shared.sessions.registry.all() {
        let (reads, writes) = handle.statements();
        let facts = handle.facts();
        let here = on.entry([facts.cluster.clone(), facts.server.clone()]);
        let (links, all_reads, all_writes) = here.or_default();
        (*links, *all_reads, *all_writes) = (*links + 1, *all_reads + reads, *all_writes + writes);
        for server in &facts.further {
            on.entry([facts.cluster.clone(), server.clone()]).or_default().0 += 1;
        }
    }
    let with_links = |mut view: ServerView| {
        let here = on.get(&[view.cluster.as_str().into(), view.server.as_str().into()]);
        let (links, reads, writes) = here.copied().unwrap_or_default();
        (view.reads, view.writes) = (view.reads + reads, view.writes + writes);
        (view.with_links(links), links)
    };
    let idc = &shared.in_force.config().proxy.proxy_idc_name;
    shared.in_force.clusters().server_views(idc).into_iter().map(with_links).collect()
}

/// The last statements of all sessions that are split, those of a session the youngest first.
pub(super) fn traces(shared: &Shared) -> Vec<TraceView> {
    let clusters = shared.in_force.clusters();
    let of = |handle: Arc<Handle>| {
        let facts = handle.facts().clone();
        let topology = clusters.find(&facts.cluster).map(|cluster| cluster.topology());
        let view = move |traced: Traced| {
            let known = topology.as_ref()?.server(ServerId(traced.server.into()));
            Some(TraceView {
                session: handle.id,
                ago: traced.ago,
                server: known.map(|it| it.member.address.to_string()).unwrap_or_default(),
                statement: Kind::ALL.get(usize::from(traced.kind))?.1.to_owned(),
                reason: Why::ALL.get(usize::from(traced.why))?.text(),
            })
        };
        let traced = facts.trace.map(|trace| trace.last()).unwrap_or_default();
        traced.into_iter().filter_map(view).collect::<Vec<_>>()
    };
    shared.sessions.registry.all().into_iter().flat_map(of).collect()
}
