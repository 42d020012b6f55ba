//! SHOW FLEET ETCD and SHOW FLEET SETTINGS: what all proxies of the fleet have altered, and whether
//! this one knows.

use super::family::Family;
use super::handles::Admin;
use super::table::{Table, timestamp};
use crate::config::alterations::Altered;
use crate::fleet::settings::{Link, Standing};

/// One row: the store, and how we stand with it.
pub(super) fn store(admin: &Admin) -> Table {
    let config = admin.proxy.config();
    let standing = admin.settings.borrow();
    let Standing { link, since, trouble, refused, .. } = &*standing;
    let mut table = Table::with_columns(&[
        "endpoints",
        "prefix",
        "state",
        "since",
        "settings",
        "not_shared",
        "refused",
        "error",
    ]);
    let endpoints: Vec<String> = config.fleet.etcd.iter().map(ToString::to_string).collect();
    table.push([
        endpoints.join(","),
        config.fleet.etcd_prefix.clone(),
        link.to_string(),
        timestamp(*since),
        standing.count().to_string(),
        not_shared(admin, *link).to_string(),
        refused.len().to_string(),
        trouble.clone(),
    ]);
    table
}

/// A row is a parameter that is altered for all of the fleet, or is to be.
pub(super) fn settings(admin: &Admin) -> Table {
    let columns = ["name", "value", "altered_by", "altered_at", "revision", "here"];
    let mut table = Table::with_columns(&columns);
    let standing = admin.settings.borrow();
    if standing.link == Link::Off {
        return table;
    }
    let altered = admin.proxy.in_force().altered();
    for (name, [value, by, at, revision]) in standing.rows() {
        let here = match (standing.refused.get(&name), altered.get(&name)) {
            (Some(why), _) => format!("refused: {why}"),
            (None, Some(own)) if own.value == value => "in force".into(),
            (None, _) => "not yet".into(),
        };
        table.push([name, value, by, at, revision, here]);
    }
    for (name, Altered { value, by, at, .. }) in altered.iter().filter(|(_, it)| !it.is_shared()) {
        let texts = [name, value, by, at].map(String::clone);
        let [name, value, by, at] = texts;
        table.push([name, value, by, at, String::new(), "not shared yet".into()]);
    }
    table
}

/// Nothing where there is no store.
pub(super) fn gauges(admin: &Admin) -> Vec<Family<f64>> {
    let standing = admin.settings.borrow();
    if standing.link == Link::Off {
        return Vec::new();
    }
    let is_connected = f64::from(u8::from(standing.link == Link::Connected));
    let count = |count: usize| vec![(vec![], count as f64)];
    vec![
        ("odp_fleet_etcd_up", "1 if etcd has answered last", vec![(vec![], is_connected)]),
        (
            "odp_fleet_settings",
            "Parameters that are altered for all of the fleet",
            count(standing.count()),
        ),
        (
            "odp_fleet_settings_refused",
            "Those of them that do not fit here",
            count(standing.refused.len()),
        ),
        (
            "odp_fleet_settings_not_shared",
            "Parameters that are altered here and not yet in etcd",
            count(not_shared(admin, standing.link)),
        ),
    ]
}

fn not_shared(admin: &Admin, link: Link) -> usize {
    match link {
        Link::Off => 0,
        Link::Connecting | Link::Connected | Link::Unreachable => {
            admin.proxy.in_force().altered().values().filter(|it| !it.is_shared()).count()
        }
    }
}
