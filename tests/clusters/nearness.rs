//! How near servers are, as operators are shown it.

use crate::scene::show;
use crate::support::Proxy;
use crate::support::proxy::Options;

const SERVERS: &str = "
[[cluster]]
name = \"near\"
[[cluster.server]]
address = \"a:1\"
idc = \"X\"
region = \"north\"
[[cluster.server]]
address = \"b:1\"
idc = \"y\"
region = \"north\"
[[cluster.server]]
address = \"c:1\"
idc = \"z\"
region = \"south\"
[[cluster.server]]
address = \"d:1\"
idc = \"X\"
region = \"north\"
";

#[test]
fn idcs_are_shown_as_odp_shows_them() {
    let mut options = Options::new(&["h:1".to_owned()]);
    options.rest = SERVERS.into();
    let proxy = Proxy::start_with(&options);
    let mut admin = proxy.admin().expect("the proxy takes operators");
    let names = admin.run("SHOW PROXYCLUSTER IDC").columns();
    assert_eq!(names, ["cluster_name", "cluster_id", "idc_url", "idc", "region"]);
    let rows = show(&proxy, "PROXYCLUSTER IDC LIKE 'near'");
    let idcs: Vec<_> = rows.iter().map(|row| [&*row["idc"], &*row["region"]]).collect();
    assert_eq!(idcs, [["X", "north"], ["y", "north"], ["z", "south"]]);

    const COLUMNS: [&str; 7] = [
        "global_idc_name",
        "cluster_name",
        "match_type",
        "regions_name",
        "same_idc",
        "same_region",
        "other_region",
    ];
    assert_eq!(admin.run("SHOW PROXYINFO IDC").columns(), COLUMNS);
    let of = |cluster: &str| -> Vec<String> {
        let rows = show(&proxy, "PROXYINFO IDC");
        let row = rows.iter().find(|row| row["cluster_name"] == cluster).expect("the cluster");
        COLUMNS.iter().map(|name| row[*name].clone()).collect()
    };
    let all = r#"[[0]"a:1", [1]"b:1", [2]"c:1", [3]"d:1"]"#;
    assert_eq!(of("near"), ["", "near", "MATCHED_BY_NONE", "[]", "[]", "[]", all]);
    admin.run("ALTER PROXYCONFIG SET proxy_idc_name = 'x'");
    let [own, same, other] =
        [r#"[[0]"a:1", [1]"d:1"]"#, r#"[[0]"b:1"]"#, r#"[[0]"c:1"]"#].map(str::to_owned);
    let expected = ["x", "near", "MATCHED_BY_IDC", r#"[[0]"north"]"#].map(str::to_owned);
    assert_eq!(of("near"), [&expected[..], &[own, same, other]].concat());
    assert_eq!(of("main")[2..4], ["MATCHED_BY_NONE", "[]"]);
}
