//! What the pages are made of: nothing from elsewhere, nothing that runs but ours, little to load.

use crate::scene::{Person, alone, pair};
use crate::support::database::PASSWORD;
use crate::support::http::Asker;
use crate::support::{Login, Wire};

const PAGES: [&str; 9] = [
    "/clusters",
    "/clusters/main",
    "/clusters/main/proxies/local/restart",
    "/tasks",
    "/sessions",
    "/statements",
    "/parameters",
    "/parameters?edit=connect_timeout",
    "/audit",
];

/// Every value of an attribute.
fn attributes<'p>(page: &'p str, name: &str) -> Vec<&'p str> {
    let start = format!(" {name}=\"");
    page.split(start.as_str()).skip(1).filter_map(|rest| rest.split('"').next()).collect()
}

#[test]
fn pages_load_what_is_ours_and_run_nothing_of_their_own() {
    let proxy = alone();
    let person = Person::log_in(&proxy, "root");
    let login = Asker::nobody(&proxy).get("/login");
    let mut weight = 0;
    let mut pages: Vec<_> = PAGES.iter().map(|path| person.asker.get(path)).collect();
    pages.push(login);
    for page in &pages {
        assert_eq!(page.status, 200, "{page:?}");
        let policy = page.field("content-security-policy").expect("one");
        for part in ["default-src 'none'", "script-src 'self'", "frame-ancestors 'none'"] {
            assert!(policy.contains(part), "{policy}");
        }
        assert!(!policy.contains("unsafe"), "{policy}");
        assert_eq!(page.field("x-frame-options"), Some("DENY"));
        assert_eq!(page.field("cache-control"), Some("no-store"));
        let body = &page.body;
        for script in body.split("<script").skip(1) {
            assert!(script.contains("src=\"/assets/") && script.contains("></script>"), "{body}");
        }
        for strange in [" style=\"", " onclick", " onload", "javascript:", "hx-on", "<style"] {
            assert!(!body.contains(strange), "{strange}: {body}");
        }
        for name in ["src", "href", "action", "hx-get", "hx-post", "sse-connect"] {
            for value in attributes(body, name) {
                let is_ours = value.starts_with('/') && !value.starts_with("//");
                assert!(is_ours || value.starts_with('#'), "{name}={value}");
            }
        }
        weight = weight.max(body.len());
    }
    // A length would tell of the token in it.
    let page = person.with("Accept-Encoding", "gzip").asker.get("/clusters/main");
    assert_eq!(page.field("content-encoding"), None);
    let mut light = weight;
    let page = &pages[0].body;
    let assets: Vec<_> = ["src", "href"]
        .iter()
        .flat_map(|name| attributes(page, name))
        .filter(|path| path.starts_with("/assets/"))
        .collect();
    assert_eq!(assets.len(), 4);
    for path in assets {
        let asset = Asker::nobody(&proxy).get(path);
        assert_eq!(asset.status, 200, "{path}");
        assert!(asset.field("cache-control").is_some_and(|it| it.contains("immutable")));
        assert_eq!(asset.field("x-content-type-options"), Some("nosniff"));
        weight += asset.body.len();
        assert_eq!(asset.field("vary"), Some("accept-encoding"), "{path}");
        let browser = Asker::nobody(&proxy).with("Accept-Encoding", "gzip, deflate, br");
        let gzip = browser.get(path);
        assert_eq!(gzip.field("content-encoding"), Some("gzip"), "{path}");
        let length = gzip.field("content-length").and_then(|it| it.parse::<usize>().ok());
        light += length.expect("a number");
    }
    assert!(light < 80 << 10, "by gzip {light}");
    assert!(weight < 200 << 10, "a first look weighs {weight}");
    assert_eq!(Asker::nobody(&proxy).get("/assets/nothing").status, 404);
}

#[test]
fn every_control_has_a_name_and_every_link_leads_somewhere() {
    let proxy = alone();
    let person = Person::log_in(&proxy, "root");
    for path in PAGES {
        let page = person.see(path);
        assert!(page.contains("<html lang=\"en\">") && page.contains("<h1"), "{path}");
        assert_eq!(page.matches("<h1").count(), 1, "{path}");
        for link in attributes(&page, "href").iter().filter(|link| link.starts_with('/')) {
            let link = link.split('#').next().expect("a path").replace("&amp;", "&");
            assert_eq!(person.asker.get(&link).status, 200, "{path}: {link}");
        }
        for input in page.split("<input").skip(1).filter_map(|rest| rest.split('>').next()) {
            let is_named = ["hidden", "radio", "search"].iter().any(|kind| input.contains(kind))
                || attributes(input, "id").iter().any(|id| page.contains(&format!("for=\"{id}\"")));
            assert!(is_named, "{path}: {input}");
        }
        for row in page.split("<tr>").skip(2) {
            let cells = row.matches("<td").count();
            assert_eq!(cells, row.matches("data-label=").count(), "{path}: {row}");
        }
    }
}

#[test]
fn what_clients_and_servers_say_is_text() {
    let Some((database, proxy)) = pair() else { return };
    let script = "<script>alert(1)</script>";
    let name = format!("\"'>{script}");
    let mut admin = proxy.admin().expect("admin");
    let sql = format!("ALTER CLUSTER main SET init_sql = 'SELECT 1 /* {script} */'");
    admin.run(&sql);
    admin.query(&format!("ALTER CLUSTER `{script}` SET init_sql = ''"));
    admin.query(&format!("ALTER CLUSTER main DRAIN SERVER '{script}'"));
    let _ = database;
    let login =
        Login { password: PASSWORD.into(), database: Some(name.clone()), ..Login::default() };
    let _refused = Wire::open(&proxy.address(), &login);
    let person = Person::log_in(&proxy, "root");
    let encoded = "%22%27%3E%3Cscript%3Ealert(1)%3C%2Fscript%3E";
    let mut seen = String::new();
    for path in [
        "/parameters?q=init_sql".to_owned(),
        "/parameters?edit=cluster.main.init_sql".to_owned(),
        "/audit".to_owned(),
        "/clusters/main".to_owned(),
        format!("/sessions?q={encoded}&sort={encoded}&only={encoded}"),
        format!("/parameters?q={encoded}&edit={encoded}"),
        format!("/login?next={encoded}"),
        format!("/clusters/{encoded}"),
        format!("/clusters/{encoded}/proxies/{encoded}/restart"),
        format!("/tasks/{encoded}"),
        format!("/sessions/{encoded}"),
        format!("/{encoded}"),
    ] {
        let page = person.asker.get(&path).body;
        assert!(!page.contains("<script>") && !page.contains("'><"), "{path}: {page}");
        seen.push_str(&page);
    }
    assert!(seen.contains("&lt;script&gt;alert(1)"), "it is shown, as text");
}

#[test]
fn what_is_not_there_is_said_on_a_page() {
    let proxy = alone();
    let person = Person::log_in(&proxy, "root");
    for path in ["/nothing", "/clusters/none", "/tasks/7", "/sessions/7", "/sessions/x"] {
        let answer = person.asker.get(path);
        assert_eq!(answer.status, 404, "{path}");
        assert!(answer.field("content-type").is_some_and(|it| it.starts_with("text/html")));
        assert!(answer.body.contains("This was not done"), "{path}");
    }
    assert_eq!(person.asker.ask("PUT", "/clusters", "").status, 405);
    let nobody = Asker::nobody(&proxy).with("HX-Request", "true").get("/clusters");
    assert_eq!((nobody.status, nobody.field("hx-redirect")), (401, Some("/login")));
}
