//! Style and script: in the binary, under names that change with what is in them.
//!
//! `htmx.min.js` is htmx 2.0.11 and `sse.min.js` its extension for server-sent events 2.2.4, as
//! they are in their npm packages, under the licence in `LICENSE`. A test knows their hashes.

use hyper::StatusCode;
use hyper::header::CACHE_CONTROL;

use crate::http::reply::{Problem, Reply, set, whole};

/// One file.
pub(super) struct Asset {
    /// Its path begins so.
    name: &'static str,
    kind: &'static str,
    text: &'static str,
}

pub(super) static STYLE: Asset = Asset {
    name: "console.css",
    kind: "text/css; charset=utf-8",
    text: include_str!("../assets/console.css"),
};

pub(super) static ICON: Asset =
    Asset { name: "icon.svg", kind: "image/svg+xml", text: include_str!("../assets/icon.svg") };

pub(super) static HTMX: Asset = Asset {
    name: "htmx.min.js",
    kind: "text/javascript; charset=utf-8",
    text: include_str!("../assets/htmx.min.js"),
};

pub(super) static SSE: Asset = Asset {
    name: "sse.min.js",
    kind: "text/javascript; charset=utf-8",
    text: include_str!("../assets/sse.min.js"),
};

impl Asset {
    /// Where it is: a proxy of another version may have another one, by another name.
    pub(super) fn path(&self) -> String {
        format!("/assets/{:08x}-{}", hash(self.text), self.name)
    }
}

/// The answer.
pub(super) fn answer(name: &str) -> Reply {
    let all = [&STYLE, &ICON, &HTMX, &SSE];
    let found = all.into_iter().find(|asset| asset.path().ends_with(&format!("/{name}")));
    let Some(asset) = found else { return Problem::not_found("there is no such file").reply() };
    let mut reply = whole(StatusCode::OK, asset.kind, asset.text);
    set(&mut reply, CACHE_CONTROL, "public, max-age=31536000, immutable");
    reply
}

/// FNV-1a: names, and proves nothing.
fn hash(text: &str) -> u32 {
    text.bytes().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::digest::{SHA256, digest};

    use super::*;

    #[test]
    fn what_others_wrote_is_what_they_published() {
        let published = [
            (&HTMX, "d6fdc75f204e6bdefa99b69bf1e6d4ac69b8a364f77929f45c13476b4000f717"),
            (&SSE, "98a46496de0c3605fbffdce9167ba427bdd9553184f83f149c261891a92c0136"),
        ];
        for (asset, expected) in published {
            let hash = digest(&SHA256, asset.text.as_bytes());
            let hash: String = hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(hash, expected, "{}", asset.name);
        }
    }

    #[test]
    fn a_first_look_weighs_little() {
        let weight: usize = [&STYLE, &HTMX, &SSE].iter().map(|asset| asset.text.len()).sum();
        assert!(weight < 80 << 10, "{weight}");
    }
}
