//! Metrics of crashes: what SHOW CRASH shows, in numbers.

use super::family::Family;
use super::handles::Admin;

/// What there was since the proxy's pair was made; nothing where it is alone.
pub(super) fn counters(admin: &Admin) -> Vec<Family<u64>> {
    let Some(crashes) = admin.proxy.crash_totals() else { return Vec::new() };
    let of = |name: &'static str, value: &str| vec![(name, value.to_owned())];
    let by_kind = crashes.by_kind.into_iter().map(|(how, count)| (of("how", &how), count));
    let results = [("resumed", crashes.resumed), ("lost", crashes.lost)];
    let results = results.map(|(result, count)| (of("result", result), count));
    vec![
        ("odp_crashes", "Crashes of the proxy", by_kind.collect()),
        ("odp_crash_sessions", "Sessions that there were in crashes", results.to_vec()),
    ]
}

/// Whether sessions would go on after a crash, and how long the last one took.
pub(super) fn gauges(admin: &Admin) -> Vec<Family<f64>> {
    let crashes = admin.proxy.crash_totals();
    let has_keeper = crashes.as_ref().is_some_and(|crashes| crashes.has_keeper);
    let help = "1 if somebody starts another process after a crash of this one";
    let mut gauges = vec![("odp_keeper_up", help, vec![(vec![], f64::from(u8::from(has_keeper)))])];
    let Some(crashes) = crashes else { return gauges };
    let help = "Sessions that would be lost in a crash now";
    let unprotected = admin.proxy.unprotected_sessions() as f64;
    gauges.push(("odp_unprotected_sessions", help, vec![(vec![], unprotected)]));
    if let Some(last) = crashes.last {
        let help = "From the last crash until all sessions had gone on that could";
        gauges.push(("odp_crash_resume_seconds", help, vec![(vec![], last.as_secs_f64())]));
    }
    gauges
}
