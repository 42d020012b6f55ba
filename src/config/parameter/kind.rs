//! What values a parameter may have: how they are read, shown, and judged.

use std::fmt::Display;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use serde::Serialize;
use serde::de::value::{Error, StrDeserializer};
use serde::de::{DeserializeOwned, IntoDeserializer as _};

use super::Reboot;
use crate::config::networks::Networks;
use crate::config::{
    CausalReads, ClusterKind, ClusterSection, ExitTimeout, ListenAddress, LogLevel, ProxyProtocol,
    ReadWriteSplit, RoutePolicy, RoutingMode, Separators, Span, compression,
};

/// Values of a type.
pub(in crate::config) struct Kind<T> {
    /// What SHOW PROXYCONFIG says of them.
    pub range: &'static str,
    /// When a change counts.
    pub reboot: Reboot,
    /// As SHOW PROXYCONFIG shows one.
    pub show: fn(&T) -> String,
    /// As ALTER PROXYCONFIG takes one.
    pub read: fn(&str) -> Result<T, String>,
    /// What would have been expected instead of this one; None: it is good.
    pub expected: fn(&T) -> Option<&'static str>,
}

/// A key that each cluster has.
pub(in crate::config) struct Key {
    /// In the file.
    pub name: &'static str,
    /// What it does.
    pub info: &'static str,
    /// What is taken.
    pub range: &'static str,
    pub read: fn(&ClusterSection) -> String,
    pub write: fn(&mut ClusterSection, &str) -> Result<(), String>,
}

impl<T> Kind<T> {
    /// Changed while it runs; every value of the type is good.
    pub(super) const fn new(
        range: &'static str,
        show: fn(&T) -> String,
        read: fn(&str) -> Result<T, String>,
    ) -> Self {
        Self { range, reboot: Reboot::NotNeeded, show, read, expected: |_| None }
    }

    /// Changed in the file.
    pub(super) const fn in_file(range: &'static str, show: fn(&T) -> String) -> Self {
        let read = |_: &str| Err("it is changed in the file, and counts after a restart".into());
        Self { range, reboot: Reboot::Needed, show, read, expected: |_| None }
    }
}

impl<T: Serialize> Kind<T> {
    /// Why a value is none of these, to be said behind its key.
    pub(in crate::config) fn refusal(&self, value: &T) -> Option<String> {
        let expected = (self.expected)(value)?;
        let value = toml::Value::try_from(value).map(|it| it.to_string()).unwrap_or_default();
        Some(format!(" = {value}: expected {expected}"))
    }
}

impl<T: Serialize + DeserializeOwned> Kind<T> {
    /// One of a few words, as the config file writes it.
    pub(super) const fn word(range: &'static str) -> Self {
        Self::new(range, written, word)
    }
}

pub(in crate::config) const ADDRESSES: Kind<Vec<ListenAddress>> = Kind {
    expected: |addresses| addresses.is_empty().then_some("at least one address"),
    ..Kind::in_file("addresses", |addresses| {
        addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
    })
};

pub(in crate::config) const WORKERS: Kind<usize> = Kind {
    expected: |workers| (*workers > 1024).then_some("0 to 1024"),
    ..Kind::in_file("[0,1024]", usize::to_string)
};

pub(super) const LOG_LEVEL: Kind<LogLevel> = Kind::in_file("error,warn,info,debug,trace", written);

pub(in crate::config) const DIRECTORY: Kind<PathBuf> =
    Kind::in_file("a path", |path| path.display().to_string());

/// At least one of them.
pub(in crate::config) const MOST: Kind<usize> = Kind {
    expected: |most| (*most == 0).then_some("1 or more"),
    ..Kind::new("[1,2147483648]", shown, |value| parse(value, "1 or more"))
};

/// 0 is no limit.
pub(in crate::config) const LIMIT: Kind<usize> =
    Kind::new("[0,2147483648]", shown, |value| parse(value, "0 or more"));

/// Entries of a table in memory.
pub(in crate::config) const DIGESTS: Kind<usize> = Kind {
    expected: |most| (*most > 100_000).then_some("0 to 100000"),
    ..Kind::new("[0,100000]", shown, |value| parse(value, "0 to 100000"))
};

/// So many a second; 0 is no limit.
pub(in crate::config) const RATE: Kind<u32> = Kind {
    expected: |rate| (*rate > 1_000_000).then_some("at most 1000000"),
    ..Kind::new("[0,1000000]", shown, |value| parse(value, "0 or more"))
};

/// Of a keepalive.
pub(in crate::config) const PROBES: Kind<u32> =
    Kind::new("[1,127]", shown, |value| parse(value, "1 to 127"));

pub(in crate::config) const ZSTD_LEVEL: Kind<u8> = Kind {
    expected: |level| (!(1..=22).contains(level)).then_some("1 to 22"),
    ..Kind::new("[1,22]", shown, |value| parse(value, "1 to 22"))
};

pub(in crate::config) const NETWORKS: Kind<Networks> = Kind::new("networks", shown, str::parse);

pub(in crate::config) const OFFERED: Kind<compression::Offered> =
    Kind::new("off, zlib, zstd or zlib,zstd", shown, str::parse);

pub(in crate::config) const ASKED: Kind<compression::Asked> =
    Kind::new("off, zlib or zstd", shown, str::parse);

pub(in crate::config) const SPAN: Kind<Span> = Kind::new("[0s,366d]", shown, span);

/// Not 0.
pub(in crate::config) const SOME_TIME: Kind<Span> =
    Kind { expected: |span| span.0.is_zero().then_some("more than 0"), ..SPAN };

pub(in crate::config) const EXIT_TIMEOUT: Kind<ExitTimeout> =
    Kind::new("[-1,366d]", shown, exit_timeout);

/// 0 or 1, as ODP has some of its switches.
pub(in crate::config) const MODE: Kind<u8> = Kind {
    expected: |mode| (*mode > 1).then_some("0 or 1"),
    ..Kind::new("[0,1]", shown, |value| parse(value, "0 or 1"))
};

/// At least one.
pub(in crate::config) const TIMES: Kind<u32> = Kind {
    expected: |times| (!(1..=1000).contains(times)).then_some("1 to 1000"),
    ..Kind::new("[1,1000]", shown, |value| parse(value, "1 to 1000"))
};

pub(in crate::config) const RETRIES: Kind<u32> = Kind {
    expected: |retries| (*retries > 1000).then_some("0 to 1000"),
    ..Kind::new("[0,1000]", shown, |value| parse(value, "0 to 1000"))
};

/// A name, or nothing.
pub(in crate::config) const TEXT: Kind<String> = Kind {
    expected: |text| {
        let is_bad = text.len() > 256 || text.contains(char::is_control);
        is_bad.then_some("at most 256 bytes, on one line")
    },
    ..Kind::new("text", String::clone, |value| Ok(value.to_owned()))
};

pub(in crate::config) const SQL: Kind<String> = Kind {
    expected: |sql| (sql.len() > 16_384).then_some("at most 16384 bytes"),
    ..Kind::new("SQL", String::clone, |value| Ok(value.to_owned()))
};

pub(in crate::config) const SEPARATORS: Kind<Separators> =
    Kind::new("signs between semicolons", shown, str::parse);

pub(in crate::config) const CLUSTER: Kind<ClusterKind> = Kind::word("mysql,oceanbase");

pub(in crate::config) const PROXY_PROTOCOL: Kind<ProxyProtocol> = Kind::word("off,v1,v2");

pub(in crate::config) const SPLIT: Kind<ReadWriteSplit> = Kind::word("off,weak,on");

pub(in crate::config) const ROUTING_MODE: Kind<RoutingMode> = Kind::word("oceanbase,mysql,random");

pub(in crate::config) const ROUTE_POLICY: Kind<RoutePolicy> = Kind {
    read: |value| word_of(&value.to_ascii_uppercase()),
    ..Kind::word("FOLLOWER_FIRST,FOLLOWER_ONLY")
};

pub(in crate::config) const CAUSAL_READS: Kind<CausalReads> = Kind::word("off,session,cluster");

pub(in crate::config) const FLAG_IN_FILE: Kind<bool> = Kind::in_file("true,false", shown);

pub(in crate::config) const FLAG: Kind<bool> = Kind::new("true,false", shown, flag);

fn shown<T: Display>(value: &T) -> String {
    value.to_string()
}

fn parse<T: FromStr>(value: &str, expected: &str) -> Result<T, String> {
    value.parse().map_err(|_| format!("expected {expected}"))
}

fn flag(value: &str) -> Result<bool, String> {
    match value.to_ascii_lowercase().as_str() {
        "1" | "true" | "on" => Ok(true),
        "0" | "false" | "off" => Ok(false),
        _ => Err("expected true or false".into()),
    }
}

/// A duration. Without a unit it could be meant in any.
fn span(value: &str) -> Result<Span, String> {
    match value.parse::<u64>() {
        Ok(0) => Ok(Span(Duration::ZERO)),
        Ok(number) => Err(format!("expected a unit, as in '{number}s' or '{number}ms'")),
        Err(_) => value.parse(),
    }
}

fn exit_timeout(value: &str) -> Result<ExitTimeout, String> {
    match value.trim() {
        "-1" => Ok(ExitTimeout::Never),
        // ODP's is a number of microseconds.
        other => match other.parse() {
            Ok(micros) => Ok(ExitTimeout::After(Duration::from_micros(micros))),
            Err(_) => span(other).map(|span| ExitTimeout::After(span.0)),
        },
    }
}

fn word<T: DeserializeOwned>(value: &str) -> Result<T, String> {
    word_of(&value.to_ascii_lowercase())
}

fn word_of<T: DeserializeOwned>(word: &str) -> Result<T, String> {
    let reader: StrDeserializer<'_, Error> = word.into_deserializer();
    T::deserialize(reader).map_err(|error| error.to_string())
}

fn written<T: Serialize>(word: &T) -> String {
    let value = toml::Value::try_from(word).ok();
    value.as_ref().and_then(toml::Value::as_str).unwrap_or_default().to_owned()
}
