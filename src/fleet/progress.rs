//! Who watches while proxies restart: it is told of each by the name of its port.

use super::port::Row;

/// Shows people what happens, as it happens.
pub(crate) trait Progress: Send + Sync + 'static {
    /// Something is done with this one.
    fn says(&self, name: &str, text: &str);

    /// How far its task is: a row of SHOW RESTART.
    fn shows(&self, name: &str, task: &Row);

    /// Its restart is over.
    fn ended(&self, name: &str, outcome: anyhow::Result<String>);

    /// It was not begun, because another one failed.
    fn left_alone(&self, name: &str);
}
