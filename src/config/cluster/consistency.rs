//! What of clusters does not fit together; and what fits, but should be known.

use super::ClusterSection;
use crate::config::consistency::Flaw;

impl ClusterSection {
    /// All flaws of the cluster at this place.
    pub(in crate::config) fn flaws(&self, at: usize) -> Vec<Flaw> {
        let mut flaws = self.flaws_of_keys(at);
        if self.server.is_empty() {
            let text = format!("cluster '{}': expected at least one [[cluster.server]]", self.name);
            flaws.push(Flaw::new(format!("cluster.{at}.server"), text));
        }
        if self.name.is_empty() {
            let text = "cluster.name = \"\": expected a name";
            flaws.push(Flaw::new(format!("cluster.{at}.name"), text));
        }
        flaws
    }
}
