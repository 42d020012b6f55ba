//! Pages with much on them: what is asked to be shown is, in the order that was asked for, as text,
//! and none of it weighs more than a page may.

use std::collections::BTreeMap;

use crate::scene::{Person, pair};
use crate::support::database::PASSWORD;
use crate::support::http::Asker;
use crate::support::proxy::Options;
use crate::support::relay::Detour;
use crate::support::{Database, Login, Proxy, Server, Wire, com, until};

type Row = BTreeMap<String, String>;

/// What everything of a first look may weigh.
const MOST: usize = 200 << 10;

/// What the cells of a column say, in order.
fn cells(page: &str, label: &str) -> Vec<String> {
    let start = format!("data-label=\"{label}\"");
    let text = |cell: &str| {
        let (_, cell) = cell.split_once('>').expect("the end of the tag");
        let cell = cell.split("</td>").next().expect("the cell");
        let pieces = cell.split('<').enumerate();
        let bare = pieces.map(|(at, piece)| match at {
            0 => piece,
            _ => piece.split_once('>').map_or("", |(_, text)| text),
        });
        bare.collect::<String>().replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"")
    };
    page.split(start.as_str()).skip(1).map(text).collect()
}

fn rows(proxy: &Proxy, sql: &str) -> Vec<Row> {
    proxy.admin().expect("the admin port takes us").query(sql).named_rows()
}

fn number(row: &Row, column: &str) -> u64 {
    row[column].parse().unwrap_or_else(|_| panic!("{column} of {row:?}"))
}

fn open(proxy: &Proxy) -> Wire {
    let login = Login { password: PASSWORD.into(), ..Login::default() };
    Wire::open(&proxy.address(), &login).expect("it is let in")
}

#[test]
fn sessions_are_those_that_were_asked_for_in_that_order() {
    let Some(database) = Database::start(Server::MariaDb) else { return };
    let mut options = Options::new(&[database.address()]);
    // Who could be elsewhere is told why he is not.
    options.rest = format!(
        "[[cluster.user]]\nname = \"odp\"\npassword = \"{PASSWORD}\"\n\
         [console]\nenabled = true\n"
    );
    let proxy = Proxy::start_with(&options);
    let mut clients: Vec<_> = (0..6).map(|_| open(&proxy)).collect();
    clients[0].run(&format!("CREATE USER zoe IDENTIFIED BY '{PASSWORD}'"));
    let zoe = Login { user: "zoe".into(), password: PASSWORD.into(), ..Login::default() };
    let mut zoe =
        Wire::open(&proxy.address(), &Login { database: None, ..zoe }).expect("it is let in");
    zoe.run("SELECT 1");
    // Each has ended other transactions, another time ago.
    let idle = |id: &str| {
        let sessions = rows(&proxy, "SHOW PROXYSESSION");
        number(sessions.iter().find(|row| row["proxy_sessid"] == id).expect("it"), "idle_ms")
    };
    let sessions = rows(&proxy, "SHOW PROXYSESSION");
    let mut numbers: Vec<_> = sessions.iter().map(|row| row["proxy_sessid"].clone()).collect();
    numbers.sort_by_key(|number| number.parse::<u64>().expect("a number"));
    for at in [4, 1, 5, 2, 0, 3] {
        for _ in 0..=at {
            clients[at].run("BEGIN");
            clients[at].run("SELECT 1");
            clients[at].run("COMMIT");
        }
        until("a moment", || (idle(&numbers[at]) > 2).then_some(()));
    }
    clients[2].run("BEGIN");
    clients[2].run("SELECT 1");
    clients[3].run("DO GET_LOCK('kept', 0)");
    until("it to be known as pinned", || {
        rows(&proxy, "SHOW PROXYSESSION").iter().any(|row| !row["pins"].is_empty()).then_some(())
    });
    let person = Person::log_in(&proxy, "root");
    let shown = |query: &str| cells(&person.see(&format!("/sessions?{query}")), "Session");
    let all = rows(&proxy, "SHOW PROXYSESSION");
    assert_eq!(all.len(), 7, "{all:?}");
    let ids = |is_one: &dyn Fn(&Row) -> bool| {
        let mut ids: Vec<_> = all.iter().filter(|row| is_one(row)).collect();
        ids.sort_by_key(|row| number(row, "proxy_sessid"));
        ids.into_iter().map(|row| row["proxy_sessid"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(shown(""), ids(&|_| true));
    let open = ids(&|row| row["transact_state"] == "in_trans");
    assert_eq!((open.len(), shown("only=transaction")), (1, open));
    let pinned = ids(&|row| !row["pins"].is_empty());
    assert!(!pinned.is_empty() && pinned.len() < 7, "{all:?}");
    assert_eq!(shown("only=pinned"), pinned);
    let of_zoe = ids(&|row| row["User"] == "zoe");
    assert_eq!((of_zoe.len(), shown("q=zoe")), (1, of_zoe.clone()));
    assert_eq!(shown("q=zoe&only=transaction"), [] as [&str; 0]);
    assert_eq!(shown("sort=User").last(), of_zoe.first());
    let by = |column: &str| {
        let of: BTreeMap<_, _> =
            all.iter().map(|row| (row["proxy_sessid"].clone(), number(row, column))).collect();
        shown(&format!("sort={column}")).iter().map(|id| of[id]).collect::<Vec<_>>()
    };
    for column in ["trans_count", "idle_ms"] {
        let values = by(column);
        assert_eq!(values.len(), 7);
        assert!(values.is_sorted_by(|a, b| a >= b), "{column}: {values:?}");
        assert!(values[0] > values[6], "{column}: {values:?}");
    }
}

#[test]
fn statements_are_text_and_in_the_order_that_was_asked_for() {
    let Some((_database, proxy)) = pair() else { return };
    let mut client = open(&proxy);
    let name = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>x";
    client.query(&format!("SELECT 1 AS `😀{name}`"));
    for count in 1..30 {
        for _ in 0..count {
            client.query(&format!("SELECT REPEAT('x', {}) AS c{count}", count * 100));
        }
    }
    client.query("SELECT nothing FROM nowhere.at_all");
    let mut slow = open(&proxy);
    slow.command(com::QUERY, format!("SELECT SLEEP(900) AS `{name}`").as_bytes());
    let running = || rows(&proxy, "SHOW PROXYDIGEST RUNNING");
    until("it is under way", || running().first().map(|_| ()));
    let person = Person::log_in(&proxy, "root");
    let page = person.see("/statements");
    for raw in ["<script>alert", "<img", "\"'>"] {
        assert!(!page.contains(raw), "{raw}: {page}");
    }
    assert_eq!(page.matches("&lt;script&gt;alert(1)").count(), 2, "as text, and slow now: {page}");
    assert!(page.contains('😀'), "{page}");
    let part = person.see("/statements?part=live");
    assert!(!part.contains("<script") && part.contains('😀'), "{part}");
    let answer = person.asker.get("/api/v1/statements");
    assert_eq!(answer.field("content-type"), Some("application/json"));
    let is_evil = |it: &serde_json::Value| it["text"].as_str().is_some_and(|it| it.contains(name));
    assert_eq!(answer.items().iter().filter(|it| is_evil(it)).count(), 1, "{answer:?}");
    let all = rows(&proxy, "SHOW PROXYDIGEST");
    for column in ["sum_us", "count", "p99_us", "max_us", "errors", "bytes"] {
        let page = person.see(&format!("/statements?sort={column}&q=select"));
        assert!(page.contains(&format!("value=\"{column}\" selected")), "{column}: {page}");
        let (_, shapes) = page.split_once("id=\"shapes\"").expect("the table");
        let values: Vec<_> = cells(shapes, "Statement")
            .iter()
            .map(|text| text.replace("&amp;", "&"))
            .map(|text| {
                number(all.iter().find(|row| row["digest_text"] == text).expect("it"), column)
            })
            .collect();
        assert!(values.len() > 30, "{values:?}");
        assert!(values.is_sorted_by(|a, b| a >= b), "{column}: {values:?}");
        assert!(values[0] > values[values.len() - 1], "{column}: {values:?}");
    }
    let found = person.see("/statements?q=as+C17");
    let (_, shapes) = found.split_once("id=\"shapes\"").expect("the table");
    assert_eq!(cells(shapes, "Count"), ["17"], "{found}");
}

#[test]
fn parameters_are_those_that_were_asked_for() {
    let Some((_database, proxy)) = pair() else { return };
    let mut admin = proxy.admin().expect("the admin port takes us");
    admin.run("ALTER PROXYCONFIG SET connect_timeout = '9s'");
    let person = Person::log_in(&proxy, "root");
    let shown = |query: &str| {
        let page = person.see(&format!("/parameters?{query}"));
        let mut names = cells(&page, "Name");
        names.iter_mut().for_each(|name| *name = name.replace('\u{200b}', ""));
        names.sort();
        names
    };
    let all = admin.query("SHOW PROXYCONFIG").named_rows();
    let named = |is_one: &dyn Fn(&Row) -> bool| {
        let mut names: Vec<_> =
            all.iter().filter(|row| is_one(row)).map(|row| row["name"].clone()).collect();
        names.sort();
        names
    };
    assert_eq!(shown(""), named(&|_| true));
    assert_eq!(shown("only=diff"), ["connect_timeout"]);
    let set = named(&|row| row["value"] != row["default_value"]);
    assert!(set.contains(&"connect_timeout".to_owned()) && set.len() < all.len(), "{set:?}");
    assert_eq!(shown("only=set"), set);
    let restart = named(&|row| row["need_reboot"] == "True");
    assert!(!restart.is_empty() && restart.len() < all.len(), "{restart:?}");
    assert_eq!(shown("only=restart"), restart);
    assert_eq!(shown("q=connect_timeout&only=diff"), ["connect_timeout"]);
    assert_eq!(shown("q=login_timeout&only=diff"), [] as [&str; 0]);
}

/// What a browser loads for a page that it has not seen before.
fn weight(person: &Person, path: &str) -> usize {
    let page = person.see(path);
    let assets = ["src", "href"].iter().flat_map(|name| {
        let start = format!(" {name}=\"/assets/");
        let paths = page.split(start.as_str()).skip(1).filter_map(|rest| rest.split('"').next());
        paths.map(|path| format!("/assets/{path}")).collect::<Vec<_>>()
    });
    let browser = Asker { fields: Vec::new(), ..person.asker };
    let browser = browser.with("Accept-Encoding", "gzip, deflate, br");
    let loaded = assets.map(|path| {
        let asset = browser.get(&path);
        assert_eq!(asset.status, 200, "{path}");
        asset.field("content-length").and_then(|it| it.parse::<usize>().ok()).expect("a number")
    });
    page.len() + loaded.sum::<usize>()
}

#[test]
fn no_page_weighs_more_than_it_may_with_fifty_proxies_and_hundreds_of_sessions() {
    let Some(database) = Database::start(Server::MariaDb) else { return };
    let lines = "[console]\nenabled = true\n";
    let mut options = Options::new(&[database.address()]);
    options.rest = lines.into();
    let other = Proxy::start_with(&options);
    let detours: Vec<_> = (0..50).map(|_| Detour::start()).collect();
    let members = detours.iter().enumerate().map(|(at, detour)| {
        detour.lead_to(other.admin_address());
        let address = &detour.address;
        format!("[[fleet.proxy]]\nname = \"proxy-{at:02}\"\naddress = \"{address}\"\n")
    });
    options.rest = format!("{lines}{}", members.collect::<String>());
    let proxy = Proxy::start_with(&options);
    let mut clients: Vec<_> = (0..300).map(|_| open(&proxy)).collect();
    for (at, client) in clients.iter_mut().enumerate().take(200) {
        client.run(&format!("SELECT c{at} FROM (SELECT 1 AS c{at}) of_a_longer_statement"));
    }
    let mut admin = proxy.admin().expect("the admin port takes us");
    (0..250).for_each(|id| drop(admin.query(&format!("KILL PROXYSESSION {}", 1 << 30 | id))));
    let person = Person::log_in(&proxy, "root");
    until("all to be asked", || person.see("/clusters/main").contains("50 of 50").then_some(()));
    person.send("/clusters/main/restart", "mode=rehearse&canary=0");
    until("all to have said it", || {
        let part = person.see("/clusters/main/restart");
        (!part.contains("every 1s")).then_some(())
    });
    let weights = [
        "/clusters",
        "/clusters/main",
        "/clusters/main/restart",
        "/clusters/main/proxies/local/restart",
        "/tasks",
        "/sessions",
        "/sessions?sort=idle_ms",
        "/statements",
        "/parameters",
        "/audit",
    ]
    .map(|path| (path, weight(&person, path)));
    println!("{weights:?}");
    for (path, weight) in weights {
        assert!(weight <= MOST, "{path} weighs {weight}");
    }
}
