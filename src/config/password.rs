//! Files that hold a password and nothing else.
//!
//! They are read with the config by whoever serves, so that what is wrong with one is told with its
//! line; and again at each reload, so that a new password is a new file.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::flaw::Flaw;
use super::{ClusterUser, Config, FleetProxy, FleetSection, Secret};

/// No password that a server takes is longer.
const MAX_PASSWORD: usize = 4096;

/// Others may read it, or change it.
const OPEN_TO_OTHERS: u32 = 0o066;

/// Whether the files of passwords are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Files {
    /// By who serves, and by who checks.
    Read,
    /// By who only looks where a proxy is: he may not be allowed to.
    Left,
    /// Of the fleet alone: by who talks to its proxies.
    OfFleet,
}

/// For whom a password is: servers, etcd among them, or proxies of the fleet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum For {
    Servers,
    Fleet,
}

/// A password as it was written: exactly one of the two, or none where none is needed.
struct Written<'c> {
    /// What it is said of.
    whose: String,
    /// Where that stands.
    path: String,
    /// What its keys begin with.
    prefix: &'static str,
    is_needed: bool,
    for_whom: For,
    password: &'c mut Option<Secret>,
    file: &'c mut Option<PathBuf>,
}

impl Config {
    /// Takes relative paths from the directory of the config, and what is in those files.
    pub(super) fn resolve_passwords(&mut self, directory: &Path, files: Files) -> Vec<Flaw> {
        let mut written = Vec::new();
        for (at, cluster) in self.cluster.iter_mut().enumerate() {
            let whose = cluster.title(at);
            for (of, ClusterUser { name, password, password_file: file }) in
                cluster.user.iter_mut().enumerate()
            {
                let path = format!("cluster.{at}.user.{of}");
                let whose = format!("{whose}: user '{name}'");
                let (prefix, is_needed) = ("", true);
                let for_whom = For::Servers;
                written.push(Written { whose, path, prefix, is_needed, for_whom, password, file });
            }
            written.push(Written {
                whose,
                path: format!("cluster.{at}"),
                prefix: "service_",
                // That depends on service_user, which may be altered.
                is_needed: false,
                for_whom: For::Servers,
                password: &mut cluster.service_password,
                file: &mut cluster.service_password_file,
            });
        }
        let FleetSection {
            password, password_file, proxy, etcd_password, etcd_password_file, ..
        } = &mut self.fleet;
        // Nobody but who serves asks etcd.
        written.push(Written {
            whose: "fleet".into(),
            path: "fleet".into(),
            prefix: "etcd_",
            is_needed: false,
            for_whom: For::Servers,
            password: etcd_password,
            file: etcd_password_file,
        });
        let of_proxies = proxy.iter_mut().enumerate().map(|(at, proxy)| {
            let FleetProxy { name, password, password_file, .. } = proxy;
            let whose = format!("fleet.proxy '{name}'");
            (whose, format!("fleet.proxy.{at}"), password, password_file)
        });
        let of_all = ("fleet".into(), "fleet".into(), password, password_file);
        written.extend(of_proxies.chain([of_all]).map(|(whose, path, password, file)| {
            let (prefix, is_needed, for_whom) = ("", false, For::Fleet);
            Written { whose, path, prefix, is_needed, for_whom, password, file }
        }));
        written.into_iter().filter_map(|written| written.resolve(directory, files)).collect()
    }

    /// Files of passwords that others may read or change, one line each.
    pub(super) fn open_password_files(&self) -> Vec<String> {
        let of_fleet = self.fleet.proxy.iter().map(|proxy| &proxy.password_file);
        let of_all = [&self.fleet.password_file, &self.fleet.etcd_password_file];
        let of_fleet = of_fleet.chain(of_all).flatten();
        let files = self.cluster.iter().flat_map(|cluster| {
            let of_users = cluster.user.iter().map(|user| &user.password_file);
            of_users.chain([&cluster.service_password_file]).flatten()
        });
        let remark = |path: &PathBuf| {
            let mode = std::fs::metadata(path).ok()?.mode() & 0o7777;
            let is_open = mode & OPEN_TO_OTHERS != 0;
            let path = path.display();
            is_open.then(|| format!("{path}: others may read or change this password: {mode:04o}"))
        };
        files.chain(of_fleet).filter_map(remark).collect()
    }
}

impl Written<'_> {
    fn resolve(self, directory: &Path, files: Files) -> Option<Flaw> {
        let Self { whose, path, prefix, is_needed, for_whom, password, file } = self;
        let is_left = match files {
            Files::Read => false,
            Files::Left => true,
            Files::OfFleet => for_whom != For::Fleet,
        };
        if let Some(file) = &mut *file {
            *file = directory.join(&*file);
        }
        let key = format!("{prefix}password");
        match (&password, &file) {
            (Some(_), Some(_)) => {}
            (None, None) if is_needed => {}
            (None, None) | (Some(_), None) => return None,
            (None, Some(_)) if is_left => return None,
            (None, Some(file)) => match read(file) {
                Ok(read) => {
                    *password = Some(read);
                    return None;
                }
                Err(error) => {
                    let text = format!("{whose}: {key}_file {}: {error}", file.display());
                    return Some(Flaw::new(format!("{path}.{key}_file"), text));
                }
            },
        }
        let text = format!("{whose}: expected exactly one of {key} and {key}_file");
        Some(Flaw::new(path, text))
    }
}

/// What a file holds, without the newline at its end.
fn read(path: &Path) -> io::Result<Secret> {
    let expected = |what: &str| io::Error::other(format!("expected {what}"));
    // Whoever opens a pipe waits for somebody who writes.
    if !std::fs::metadata(path)?.is_file() {
        return Err(expected("a file"));
    }
    // Never moved to a bigger place, which would leave a copy behind.
    let mut text = Zeroizing::new(Vec::with_capacity(2 * MAX_PASSWORD));
    if File::open(path)?.take(MAX_PASSWORD as u64 + 1).read_to_end(&mut text)? > MAX_PASSWORD {
        return Err(expected("at most 4096 bytes"));
    }
    let text = std::str::from_utf8(&text).map_err(|_| expected("text in UTF-8"))?;
    let line = text.strip_suffix('\n').unwrap_or(text);
    let line = line.strip_suffix('\r').unwrap_or(line);
    match line.is_empty() {
        true => Err(expected("a password")),
        false => Ok(Secret::new(line)),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    /// A config that names this file for its service account and for a user.
    fn load(dir: &Path) -> Result<Config, String> {
        let text = "[[cluster]]\nname = 'a'\nservice_user = 's'\n\
                    service_password_file = 'pw'\n[[cluster.user]]\nname = 'u'\n\
                    password_file = 'pw'\n[[cluster.server]]\naddress = 'h:1'\n";
        std::fs::write(dir.join("odp.toml"), text).expect("ours");
        Config::load(&dir.join("odp.toml")).map_err(|error| error.to_string())
    }

    #[test]
    fn a_password_is_what_the_file_holds() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("pw");
        for (held, expected) in [
            ("hush", Some("hush")),
            ("hush\n", Some("hush")),
            ("hush\r\n", Some("hush")),
            (" hu sh \n\n", Some(" hu sh \n")),
            ("", None),
            ("\n", None),
        ] {
            std::fs::write(&path, held).expect("ours");
            let config = load(dir.path()).ok();
            let cluster = config.as_ref().map(Config::main_cluster);
            let service = cluster.and_then(|it| it.service_password.as_ref());
            assert_eq!(service.map(Secret::reveal), expected, "{held:?}");
            let user = cluster.and_then(|it| it.user[0].password.as_ref());
            assert_eq!(user.map(Secret::reveal), expected, "{held:?}");
            assert!(!format!("{config:?}").contains("hush"));
        }
    }

    #[test]
    fn a_file_that_is_none_is_named_with_its_line() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("pw");
        let refused = |expected: &str| {
            let error = load(dir.path()).expect_err(expected);
            let service = format!(
                "line 4, column 25: cluster 'a': service_password_file {}: {expected}",
                path.display()
            );
            assert!(error.contains(&service), "{service} is not in: {error}");
            let user = "line 7, column 17: cluster 'a': user 'u': password_file /";
            assert!(error.contains(user), "{user} is not in: {error}");
            assert!(!error.contains("hush"), "{error}");
        };
        refused("No such file");
        std::fs::create_dir(&path).expect("ours");
        refused("expected a file");
        // Who only looks is not asked for them.
        let looked = Config::look(&dir.path().join("odp.toml")).expect("a config");
        assert_eq!(looked.main_cluster().service_password, None);
        std::fs::remove_dir(&path).expect("ours");
        std::fs::write(&path, "hush".repeat(1025)).expect("ours");
        refused("expected at most 4096 bytes");
        std::fs::write(&path, b"hush\xff").expect("ours");
        refused("expected text in UTF-8");
    }

    #[test]
    fn a_password_that_others_may_read_is_worth_a_word() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("pw");
        std::fs::write(&path, "hush").expect("ours");
        for (mode, expected) in [(0o600, 0), (0o400, 0), (0o640, 2), (0o604, 2), (0o622, 2)] {
            let permissions = std::fs::Permissions::from_mode(mode);
            std::fs::set_permissions(&path, permissions).expect("ours");
            let remarks = load(dir.path()).expect("a config").remarks();
            let of_file = remarks.iter().filter(|it| it.contains("others may read")).count();
            assert_eq!(of_file, expected, "{mode:o}: {remarks:?}");
        }
    }
}
