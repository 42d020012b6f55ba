//! What changes while somebody looks is seen without another load of the page: other rows, what may
//! be done by now, and the counts in the head.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::browser::{is_there, told_while};
use crate::scene::{Person, alone, nowhere};
use crate::support::Proxy;
use crate::support::fleet::introduce;

/// A fleet of two, if there is a browser.
fn fleet() -> Option<[Proxy; 2]> {
    let proxies = is_there().then(|| [alone(), alone()])?;
    introduce(&proxies);
    Some(proxies)
}

/// Looks at a page of a proxy: what goes when something happens, and what comes.
fn sees(proxy: &Proxy, path: &str, goes: &str, comes: &str, mut happens: impl FnMut()) {
    let person = Person::log_in(proxy, "root");
    let arguments = [path, goes, comes];
    let seen = told_while("comes.js", proxy, person.cookie(), arguments, |_| happens());
    assert_eq!(seen["loads"], 0, "{path}");
}

fn says(proxy: &Proxy, sql: &str) {
    proxy.admin().expect("the admin port takes us").run(sql);
}

/// Its config with another text in place of one, in force.
fn edits(proxy: &Proxy, before: &str, after: &str) {
    let text = std::fs::read_to_string(proxy.config()).expect("a config");
    assert!(text.contains(before), "{text}");
    std::fs::write(proxy.config(), text.replace(before, after)).expect("ours");
    kill(Pid::from_raw(proxy.pid() as i32), Signal::SIGHUP).expect("it lives");
}

#[test]
fn an_overview_shows_the_servers_that_there_are() {
    let Some([proxy, _other]) = fleet() else { return };
    let (goes, comes) = ("#servers td = 127.0.0.1:1", "#servers td = 127.0.0.1:2");
    sees(&proxy, "/clusters/main", goes, comes, || {
        says(&proxy, "ALTER CLUSTER main ADD SERVER '127.0.0.1:2'");
        says(&proxy, "ALTER CLUSTER main DROP SERVER '127.0.0.1:1'");
    });
}

#[test]
fn an_overview_says_what_may_be_done_with_a_server_now() {
    let Some([proxy, _other]) = fleet() else { return };
    let [goes, comes] =
        ["drain", "online"].map(|what| format!("#servers button[formaction$='/{what}']"));
    sees(&proxy, "/clusters/main", &goes, &comes, || {
        says(&proxy, "ALTER CLUSTER main DRAIN SERVER '127.0.0.1:1'");
    });
}

#[test]
fn an_overview_shows_the_proxies_that_there_are() {
    let Some([proxy, _other]) = fleet() else { return };
    let (goes, comes) = ("#fleet input[value=b]", "#fleet input[value=d]");
    sees(&proxy, "/clusters/main", goes, comes, || edits(&proxy, "\"b\"", "\"d\""));
}

#[test]
fn the_list_of_clusters_shows_those_that_there_are() {
    let Some([proxy, _other]) = fleet() else { return };
    let (goes, comes) = ("#clusters a[href$='/main']", "#clusters a[href$='/second']");
    sees(&proxy, "/clusters", goes, comes, || edits(&proxy, "\"main\"", "\"second\""));
}

#[test]
fn a_dialog_of_one_lets_go_of_what_was_in_the_way() {
    let Some([proxy, _other]) = fleet() else { return };
    says(&proxy, "ALTER PROXYCONFIG SET proxy_local_cmd = '3'");
    let path = "/clusters/main/proxies/local/restart";
    let (goes, comes) = ("#soft input:disabled", "#soft-open input:enabled");
    sees(&proxy, path, goes, comes, || says(&proxy, "ALTER PROXYCONFIG SET proxy_local_cmd = '4'"));
}

#[test]
fn a_dialog_of_several_lets_go_of_what_was_in_the_way() {
    let Some([proxy, mut other]) = fleet() else { return };
    other.kill9();
    sees(&proxy, "/clusters/main/restart", "#go button:disabled", "#go-open", || {
        other.start_again(&nowhere(), &[]).expect("it starts");
    });
}

#[test]
fn every_page_counts_tasks() {
    let Some([proxy, other]) = fleet() else { return };
    let (none, one) = ("#counts:empty", "#counts .busy = 1 running");
    let begin = || says(&proxy, "RESTART FLEET PROXIES = 'b' PAUSE = '1h'");
    let stop = || says(&proxy, "RESTART FLEET STOP");
    sees(&proxy, "/sessions", none, one, begin);
    sees(&proxy, "/parameters", one, none, stop);
    sees(&proxy, "/audit", none, one, begin);
    sees(&proxy, "/nothing", one, none, stop);
    drop(other);
}
