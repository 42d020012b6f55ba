//! How values are told to people.

use maud::{Markup, html};

use crate::admin::Row;
use crate::http::fleet;
use crate::http::request::encoded;

/// `2026-11-29T00:35:35.123Z` → `2026-11-29 00:35:35 UTC`.
pub(super) fn time(text: &str) -> String {
    let Some((day, rest)) = text.split_once('T') else { return text.to_owned() };
    let clock = rest.split(['.', 'Z']).next().unwrap_or(rest);
    format!("{day} {clock} UTC")
}

/// `93784` → `1 d 2 h`.
pub(super) fn span(seconds: &str) -> String {
    let Ok(seconds) = seconds.parse::<u64>() else { return seconds.to_owned() };
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min {} s", seconds % 60),
        (0, ..) => format!("{hours} h {minutes} min"),
        (..) => format!("{days} d {hours} h"),
    }
}

/// Microseconds: `1500` → `1.5 ms`.
pub(super) fn pause(us: &str) -> String {
    match us.parse::<f64>() {
        Ok(us) if us < 1000.0 => format!("{us} µs"),
        Ok(us) if us < 1e6 => format!("{:.1} ms", us / 1e3),
        Ok(us) => format!("{:.2} s", us / 1e6),
        Err(_) => us.to_owned(),
    }
}

/// `1500` → `1.5 kB`.
pub(super) fn bytes(bytes: &str) -> String {
    match bytes.parse::<f64>() {
        Ok(bytes) if bytes < 1e3 => format!("{bytes} B"),
        Ok(bytes) if bytes < 1e6 => format!("{:.1} kB", bytes / 1e3),
        Ok(bytes) if bytes < 1e9 => format!("{:.1} MB", bytes / 1e6),
        Ok(bytes) => format!("{:.1} GB", bytes / 1e9),
        Err(_) => bytes.to_owned(),
    }
}

/// Milliseconds.
pub(super) fn elapsed(ms: &str) -> String {
    match ms.parse::<f64>() {
        Ok(ms) if ms < 1000.0 => format!("{ms} ms"),
        Ok(ms) if ms < 60_000.0 => format!("{:.1} s", ms / 1e3),
        Ok(ms) => span(&((ms / 1e3) as u64).to_string()),
        Err(_) => ms.to_owned(),
    }
}

/// What the last restart of a proxy has moved.
pub(super) fn moved(proxy: &Row) -> Markup {
    let [moved, longest] =
        ["last_restart_moved", "last_restart_pause_max_us"].map(|column| proxy.value(column));
    html! {
        @if let (Some(moved), Some(longest)) = (moved, longest) {
            div class="hint" {
                (count(moved, "session")) " moved"
                @if moved != "0" { ", longest pause " (pause(longest)) }
            }
        }
    }
}

/// `n sessions`, `1 session`.
pub(super) fn count(number: &str, one: &str) -> String {
    if number == "1" { format!("1 {one}") } else { format!("{number} {one}s") }
}

/// A name that may go on in the next line behind each `_`.
pub(super) fn breakable(name: &str) -> Markup {
    html! {
        @for (at, part) in name.split('_').enumerate() { @if at > 0 { "_" wbr; } (part) }
    }
}

/// `n of m`, in a color unless it is all of them.
pub(super) fn of_all(some: &str, all: &str) -> Markup {
    let color = match some {
        some if some == all => return html! { b { (some) " of " (all) } },
        "0" => "bad",
        _ => "busy",
    };
    html! { span class={ "mark " (color) } { (some) " of " (all) } }
}

/// How many servers of a cluster are online; red is not for those that nobody has asked.
pub(super) fn servers(cluster: &Row) -> Markup {
    let columns = ["servers_online", "servers_unknown", "servers"];
    let [some, unknown, all] = columns.map(|column| cluster.text(column));
    let [online, others, servers] = [some, unknown, all].map(|it| it.parse().unwrap_or(0_usize));
    match others > 0 && online + others == servers {
        true => html! { b { (some) " of " (all) } },
        false => of_all(some, all),
    }
}

/// The restart that is in progress, and where it is told of: that of the fleet has this proxy's in
/// it. That of another one is known by its name, and by who coordinates it.
pub(super) fn running_task(
    cluster: &Row,
    of_another: Option<&(String, String)>,
) -> Option<(String, String)> {
    let own = cluster.value("running_fleet_task").or(cluster.value("running_task"));
    let of_another = of_another.map(|(task, proxy)| {
        let path = format!("/tasks/{}", encoded(&fleet::name_at(task, proxy)));
        (format!("{task} of {proxy}"), path)
    });
    own.map(|id| (id.to_owned(), format!("/tasks/{id}"))).or(of_another)
}

/// The state of a server.
pub(super) fn server(state: &str) -> &str {
    if state == "unknown" { "not asked yet" } else { state }
}

/// `n proxies`, `1 proxy`.
pub(super) fn proxies(number: usize) -> String {
    if number == 1 { "1 proxy".into() } else { format!("{number} proxies") }
}

/// A state of a task.
pub(super) fn state(state: &str) -> &str {
    match state {
        "IN_PROGRESS" => "In progress",
        "COMPLETED" => "Completed",
        "FAILED" => "Failed",
        "ROLLED_BACK" => "Rolled back",
        "STOPPED" => "Stopped",
        other => other,
    }
}

/// A mode of a task.
pub(super) fn mode(mode: &str) -> &str {
    match mode {
        "RESTART" => "Restart",
        "FORCE" => "Force Restart",
        "REHEARSE" => "Rehearsal",
        other => other,
    }
}

/// Which color a state has: it is never told by that alone.
pub(super) fn color(state: &str) -> &'static str {
    match state {
        "RUNNING" | "COMPLETED" | "online" | "done" | "DONE" => "good",
        "FAILED" | "UNREACHABLE" | "lost" | "STOPPING" | "refused" | "congested" => "bad",
        "IN_PROGRESS" | "RESTARTING" | "DRAINING" | "STARTING" | "ROLLED_BACK" | "OFFLINE"
        | "STOPPED" | "suspect" | "draining" | "asked" => "busy",
        _ => "plain",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::Table;

    #[test]
    fn values_are_told_in_the_units_that_people_read() {
        assert_eq!(time("2026-11-29T00:35:35.123Z"), "2026-11-29 00:35:35 UTC");
        assert_eq!(time(""), "");
        let spans =
            [("9", "9 s"), ("75", "1 min 15 s"), ("3700", "1 h 1 min"), ("93784", "1 d 2 h")];
        for (seconds, expected) in spans {
            assert_eq!(span(seconds), expected);
        }
        let pauses = [("700", "700 µs"), ("1500", "1.5 ms"), ("2500000", "2.50 s"), ("x", "x")];
        for (us, expected) in pauses {
            assert_eq!(pause(us), expected);
        }
        assert_eq!((bytes("999"), bytes("2500000")), ("999 B".into(), "2.5 MB".into()));
        let row = |servers: [&str; 3]| {
            let mut table = Table::with_columns(&["servers_online", "servers_unknown", "servers"]);
            table.push(servers.map(Into::into));
            table.rows().map(|row| self::servers(&row).into_string()).collect::<String>()
        };
        assert_eq!(row(["0", "1", "1"]), "<b>0 of 1</b>", "nobody knows");
        assert!(row(["0", "1", "2"]).contains("mark bad"));
        assert!(row(["1", "0", "2"]).contains("mark busy"));
        assert_eq!(breakable("a_b<").into_string(), "a_<wbr>b&lt;");
        assert_eq!((elapsed("52"), elapsed("1500")), ("52 ms".into(), "1.5 s".into()));
        assert_eq!(
            (count("1", "session"), count("0", "session")),
            ("1 session".into(), "0 sessions".into())
        );
    }
}
