//! Logging in and out, and what must not be enough for it.

use crate::scene::{Person, alone, try_log_in, with};
use crate::support::http::Asker;
use crate::support::proxy::ADMIN_PASSWORD;
use crate::support::until;

#[test]
fn nobody_is_sent_to_the_log_in_and_comes_back() {
    let proxy = alone();
    let nobody = Asker::nobody(&proxy);
    for path in ["/clusters", "/clusters/main", "/tasks", "/sessions", "/parameters", "/audit"] {
        let answer = nobody.get(path);
        let next = format!("/login?next={}", path.replace('/', "%2F"));
        assert_eq!((answer.status, answer.field("location")), (303, Some(next.as_str())));
        assert_eq!(answer.body, "");
    }
    assert_eq!(nobody.get("/").field("location"), Some("/clusters"));
    assert_eq!(nobody.form("/parameters", "name=a&value=b").status, 303);
    let answer = try_log_in(&proxy, "root", ADMIN_PASSWORD);
    assert_eq!((answer.status, answer.field("location")), (303, Some("/tasks")));
    let cookie = answer.field("set-cookie").expect("a cookie");
    for part in ["HttpOnly", "SameSite=Strict", "Path=/", "Max-Age="] {
        assert!(cookie.contains(part), "{cookie}");
    }
    assert!(!cookie.contains("Secure"), "there is no TLS here: {cookie}");
    for next in ["https://evil", "//evil", "/\\evil", ""] {
        let fields = format!("user=root&password={ADMIN_PASSWORD}&next={next}");
        let answer = nobody.form("/login", &fields);
        assert_eq!(answer.field("location"), Some("/clusters"), "{next}");
    }
}

#[test]
fn wrong_names_and_passwords_are_told_the_same_and_wait() {
    let proxy = alone();
    let first = try_log_in(&proxy, "root", "guess");
    assert_eq!((first.status, first.field("set-cookie")), (401, None));
    let text = |body: &str| {
        let (_, rest) = body.split_once("role=\"alert\">").expect("what was wrong");
        rest.split('<').next().expect("a text").to_owned()
    };
    let waits = until("a wait", || {
        let answer = try_log_in(&proxy, "root", "guess");
        (answer.status == 429).then_some(answer)
    });
    assert!(waits.field("retry-after").is_some());
    // The right one is not looked at meanwhile: else a guess would cost nothing.
    let other = until("the end of the wait", || {
        let answer = try_log_in(&proxy, "nobody", ADMIN_PASSWORD);
        (answer.status != 429).then_some(answer)
    });
    assert_eq!((other.status, text(&other.body)), (401, text(&first.body)));
    until("a log-in", || (try_log_in(&proxy, "root", ADMIN_PASSWORD).status == 303).then_some(()));
    let audit = std::fs::read_to_string(proxy.state_dir().join("audit.log")).expect("the audit");
    assert!(audit.contains("\"user\":\"?\"") && audit.contains("LOG IN"), "{audit}");
    assert!(!audit.contains(ADMIN_PASSWORD) && !audit.contains("guess"), "{audit}");
}

#[test]
fn passwords_that_everybody_knows_let_nobody_in() {
    let user = |name: &str, password: &str| {
        format!(
            "[[admin.user]]\nname = \"{name}\"\nrole = \"manager\"\npassword = \"{password}\"\n"
        )
    };
    let proxy = with(&(user("empty", "") + &user("example", "secret")));
    for (name, password, why) in
        [("empty", "", "its password is empty"), ("example", "secret", "the one of an example")]
    {
        let answer = try_log_in(&proxy, name, password);
        assert_eq!((answer.status, answer.field("set-cookie")), (403, None));
        assert!(answer.body.contains(why), "{}", answer.body);
        assert!(proxy.log().contains(&format!("admin.user '{name}'")), "{}", proxy.log());
    }
}

#[test]
fn a_cookie_is_ours_one_and_ends_with_the_log_out() {
    let proxy = alone();
    let planted = "odp_session=0000000000000000000000000000000000000000000000000000000000000000";
    let victim = Asker::nobody(&proxy).with("Cookie", planted);
    let fields = format!("user=root&password={ADMIN_PASSWORD}");
    let answer = victim.form("/login", &fields);
    let given = answer.field("set-cookie").expect("a cookie");
    assert!(!given.starts_with(planted), "the browser's own is not taken: {given}");
    assert_eq!(victim.get("/clusters").status, 303, "and opens nothing");
    let person = Person::log_in(&proxy, "root");
    let two = person.asker.with("Cookie", planted);
    assert_eq!(two.get("/clusters").status, 303, "of two neither is taken");
    assert_eq!(person.asker.form("/logout", "").status, 403, "another site cannot log us out");
    let answer = person.send("/logout", "");
    assert_eq!((answer.status, answer.field("location")), (303, Some("/login")));
    assert!(answer.field("set-cookie").is_some_and(|it| it.contains("Max-Age=0")));
    assert_eq!(person.asker.get("/clusters").status, 303, "it is over");
    let viewer = Person::log_in(&proxy, "watch");
    assert_eq!(viewer.send("/logout", "").status, 303, "who may only look may leave");
}

#[test]
fn a_log_in_outlives_the_restart_and_ends_with_the_password() {
    let proxy = alone();
    let person = Person::log_in(&proxy, "root");
    proxy.restart();
    person.see("/clusters");
    let text = std::fs::read_to_string(proxy.config()).expect("the config");
    let (before, after) = text.split_once(ADMIN_PASSWORD).expect("root is the first");
    std::fs::write(proxy.config(), format!("{before}another-secret{after}")).expect("ours");
    proxy.restart_by_signal();
    until("the new password to count", || {
        (person.asker.try_ask("GET", "/clusters", "")?.status == 303).then_some(())
    });
}

/// A reverse proxy asks by the name it knows us by.
#[test]
fn who_is_in_front_says_whose_page_it_is() {
    let (form, origin) = ("name=connect_timeout&value=7s", "https://console.example");
    for (line, believes) in [("", false), ("behind_proxy = true\n", true)] {
        let proxy = with(line);
        let person = Person::log_in(&proxy, "root").with("Origin", origin);
        let refused = person.send("/parameters", form);
        assert_eq!(refused.status, 403, "{refused:?}");
        assert!(refused.body.contains("X-Forwarded-Host"), "{refused:?}");
        for (said, is_ours) in [
            ("console.example", true),
            ("evil.example, console.example", true),
            ("console.example, evil.example", false),
        ] {
            let answer = person.with("X-Forwarded-Host", said).send("/parameters", form);
            let expected = if believes && is_ours { 303 } else { 403 };
            assert_eq!(answer.status, expected, "{line}{said}: {answer:?}");
        }
    }
}

#[test]
fn another_sites_page_can_do_nothing() {
    let proxy = alone();
    let person = Person::log_in(&proxy, "root");
    let form = "name=connect_timeout&value=7s";
    let own = format!("http://127.0.0.1:{}", proxy.http);
    assert_eq!(person.asker.form("/parameters", form).status, 403, "without the token");
    let wrong = format!("csrf={}&{form}", "0".repeat(64));
    assert_eq!(person.asker.form("/parameters", &wrong).status, 403);
    let api = person.asker.ask("PATCH", "/api/v1/parameters", r#"{"connect_timeout": "7s"}"#);
    assert_eq!(api.status, 403, "the API wants the token too: {api:?}");
    for (name, value) in [
        ("Origin", "http://evil"),
        ("Origin", "null"),
        ("Origin", "http://127.0.0.1:1"),
        ("Sec-Fetch-Site", "cross-site"),
        ("Sec-Fetch-Site", "same-site"),
    ] {
        let foreign = person.with(name, value);
        let answer = foreign.send("/parameters", form);
        assert_eq!(answer.status, 403, "{name}: {value}: {answer:?}");
        let login = Asker::nobody(&proxy).with(name, value);
        let fields = format!("user=root&password={ADMIN_PASSWORD}");
        assert_eq!(login.form("/login", &fields).status, 403, "{name}: {value}");
    }
    assert!(!person.see("/parameters?q=connect_timeout").contains("7s"));
    let other = Person::log_in(&proxy, "root");
    assert_eq!(person.with_token_of(&other).send("/parameters", form).status, 403);
    assert_eq!(person.with("Origin", &own).send("/parameters", form).status, 303);
    assert!(person.see("/parameters?q=connect_timeout").contains("7s"));
}

#[test]
fn who_logs_out_is_told_nothing_more() {
    let proxy = alone();
    let (person, other) = (Person::log_in(&proxy, "root"), Person::log_in(&proxy, "root"));
    let mut events = person.asker.listen();
    let mut still = other.asker.listen();
    assert!(events.next().is_some() && still.next().is_some());
    assert_eq!(person.send("/logout", "").status, 303);
    while events.next().is_some() {}
    proxy.admin().expect("admin").run("ALTER PROXYCONFIG SET proxy_local_cmd = '3'");
    still.until("state", |state| state["status"] == "OFFLINE").expect("the other is");
}
