//! `odp check`: validates a config without touching anything that runs.
//!
//! Nothing is made, bound or connected: a restart asks this of the new config while the proxy
//! serves.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{anyhow, bail};
use nix::unistd::{AccessFlags, access, geteuid};

use super::ourselves::{self, Names};
use super::remarks::remarks;
use crate::config::Config;
use crate::log;
use crate::net::tls::settings::{Settings, SettingsError};

/// Arguments of `odp check`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The config file.
    #[arg(short, long, value_name = "FILE")]
    config: PathBuf,
}

/// Runs the command: exit code 0, or 1 with everything that is wrong, where it stands and what was
/// expected. What will go wrong some day is said and no failure.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let config = Config::load(&args.config)?;
    let path = args.config.display();
    let mut wrong: Vec<String> =
        Settings::errors(&config.tls).iter().map(ToString::to_string).collect();
    wrong.extend(ourselves::listed(&config, Names::Resolved).map(|fault| fault.to_string()));
    if let Err(error) = usable(&config.proxy.run_dir) {
        wrong.push(format!("proxy.run_dir = \"{}\": {error}", config.proxy.run_dir.display()));
    }
    for remark in remarks(&config) {
        log::say(&format!("config {path}: warning: {remark}"));
    }
    if !wrong.is_empty() {
        let lines = wrong.iter().map(|text| format!("config {path}: {text}"));
        bail!(lines.collect::<Vec<_>>().join("\n"));
    }
    let servers: usize = config.cluster.iter().map(|cluster| cluster.server.len()).sum();
    super::print(&format!("{path}: ok, {servers} server(s)\n"))?;
    Ok(ExitCode::SUCCESS)
}

/// Loads a config that this version can serve. The files that it names are not read.
pub fn load(path: &Path) -> anyhow::Result<Config> {
    let config = Config::load(path)?;
    not_ourselves(path, &config, Names::AsTheyAre)?;
    Ok(config)
}

/// None of the servers is surely the proxy itself.
pub fn not_ourselves(path: &Path, config: &Config, names: Names) -> anyhow::Result<()> {
    match ourselves::listed(config, names) {
        Some(fault) => bail!("config {}: {fault}", path.display()),
        None => Ok(()),
    }
}

/// What is wrong with a file that the config names.
pub fn in_config(path: &Path) -> impl FnOnce(SettingsError) -> anyhow::Error {
    let path = path.display().to_string();
    move |error| anyhow!("config {path}: {error}")
}

/// Whether the handover socket can be made there; the error is what was expected.
fn usable(run_dir: &Path) -> Result<(), String> {
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
