//! Keys of clusters as parameters: `cluster.NAME.KEY`.

use crate::config::ClusterSection;

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
