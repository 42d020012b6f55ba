//! OceanBase's small form behind a cluster of its kind: what becomes of its names.

use crate::scene::{open, refused, session};
use crate::support::proxy::Options;
use crate::support::{Database, Proxy, Server};

/// It has one tenant, `sys`, and knows no clusters: the proxy takes the name apart.
#[test]
fn a_name_reaches_it_with_its_tenant_and_without_its_cluster() {
    let Some(database) = Database::start(Server::SeekDb) else { return };
    let mut options = Options::new(&[database.address()]);
    options.cluster = "kind = \"oceanbase\"\n".into();
    let proxy = Proxy::start_with(&options);
    for (name, tenant) in [
        ("odp", ""),
        ("odp#main", ""),
        ("odp@sys", "sys"),
        ("odp@sys#main", "sys"),
        ("main:sys:odp", "sys"),
    ] {
        let mut wire = open(&proxy, name).expect(name);
        assert_eq!(wire.run("SELECT CURRENT_USER()").text(), "odp@%", "{name}");
        assert_eq!(session(&proxy, &wire, &["Cluster", "Tenant"]), ["main", tenant], "{name}");
    }
    // Whether there is such a tenant, the server says.
    assert_eq!(refused(open(&proxy, "odp@other#main")).0, 1045);
}
