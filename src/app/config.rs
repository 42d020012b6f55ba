//! The config of a process that is to serve: loaded, and what is wrong with it.
//!
//! Nothing is made, bound or connected: a restart asks this of the new config while the proxy
//! serves.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use anyhow::anyhow;
use nix::unistd::{AccessFlags, access, geteuid};

use super::ourselves;
pub(crate) use super::ourselves::Names;
use crate::config::{Config, ConfigError, Flaw};
use crate::fleet::settings::Store;
use crate::fleet::tls::flaws as flaws_of_fleet;
use crate::net::tls::settings::{Settings, SettingsError};

/// Loads a config with the files that it names, unless something is wrong with any of them.
pub(crate) fn check(path: &Path) -> Result<Config, ConfigError> {
    Config::load_if(path, flaws)
}

/// All that is wrong with what it names.
fn flaws(config: &Config) -> Vec<Flaw> {
    let mut wrong = Settings::errors(&config.tls);
    wrong.extend(Store::errors(&config.fleet));
    let flaw = |error: SettingsError| Flaw::new(&error.key, error.to_string());
    let mut flaws: Vec<Flaw> = wrong.into_iter().map(flaw).collect();
    flaws.extend(flaws_of_fleet(&config.fleet));
    flaws.extend(ourselves::listed(config, Names::Resolved));
    let run_dir = &config.proxy.run_dir;
    if let Err(error) = usable(run_dir) {
        let text = format!("proxy.run_dir = \"{}\": {error}", run_dir.display());
        flaws.push(Flaw::new("proxy.run_dir", text));
    }
    flaws
}

/// Loads a config that this version can serve: none of the servers is surely the proxy itself. Of
/// the files that it names only passwords are read.
pub(crate) fn load(path: &Path, names: Names) -> anyhow::Result<Config> {
    Ok(Config::load_if(path, |config| ourselves::listed(config, names))?)
}

/// What is wrong with a file that the config names.
pub(crate) fn in_config(path: &Path) -> impl FnOnce(SettingsError) -> anyhow::Error {
    let path = path.display().to_string();
    move |error| anyhow!("config {path}: {error}")
}

/// Whether nobody else than this user can have written there.
pub(super) fn is_private(directory: &Path) -> bool {
    std::fs::symlink_metadata(directory).is_ok_and(|found| {
        let is_closed = found.mode() & 0o022 == 0;
        found.is_dir() && is_closed && found.uid() == geteuid().as_raw()
    })
}

/// Whether files of ours can be made there; the error is what was expected.
pub(super) fn usable(run_dir: &Path) -> Result<(), String> {
    let writable = |dir: &Path| {
        access(dir, AccessFlags::W_OK | AccessFlags::X_OK)
            .map_err(|error| format!("expected to be able to write in {}: {error}", dir.display()))
    };
    match std::fs::symlink_metadata(run_dir) {
        Ok(found) if !found.is_dir() => Err("expected a directory".into()),
        Ok(found) if found.uid() != geteuid().as_raw() => {
            Err(format!("expected it to be owned by uid {}, not {}", geteuid(), found.uid()))
        }
        Ok(_) => writable(run_dir),
        // It will be made then, but not what is above it.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let above = run_dir.parent().filter(|above| !above.as_os_str().is_empty());
            writable(above.unwrap_or(Path::new(".")))
        }
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_dir_is_ours_or_can_be_made() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("file");
        std::fs::write(&file, "").expect("the directory is ours");
        assert_eq!(usable(dir.path()), Ok(()));
        assert_eq!(usable(&dir.path().join("later")), Ok(()));
        assert_eq!(usable(&file), Err("expected a directory".into()));
        assert!(usable(&file.join("below")).is_err());
        assert!(usable(&dir.path().join("missing/below")).is_err());
    }
}
