//! Who does what: the classes of connections, and how many of each there are.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;

/// What a connection of the load does with its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Class {
    /// Is silent but for a look every few seconds.
    Idle,
    /// Reads one row at a time by its key.
    Select,
    /// Holds transactions open for a time.
    Transaction,
    /// Executes statements that it prepared once, when it was opened.
    Prepared,
    /// Reads large results and compares checksums.
    Result,
    /// Transfers money; the total must not change.
    Bank,
    /// Looks whether everything a session knows is still there.
    State,
    /// Looks whether everything is still there that could be told to another server.
    Portable,
    /// Reads what it has written itself.
    Own,
    /// Connects, asks one thing and leaves, again and again.
    Connect,
}

impl Class {
    /// All of them, in the order of the tables.
    pub(super) const ALL: [Self; 10] = [
        Self::Idle,
        Self::Select,
        Self::Transaction,
        Self::Prepared,
        Self::Result,
        Self::Bank,
        Self::State,
        Self::Portable,
        Self::Own,
        Self::Connect,
    ];

    /// The name in `--mix` and in the tables.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Select => "select",
            Self::Transaction => "transaction",
            Self::Prepared => "prepared",
            Self::Result => "result",
            Self::Bank => "bank",
            Self::State => "state",
            Self::Portable => "portable",
            Self::Own => "own",
            Self::Connect => "connect",
        }
    }

    /// What it does, for people who read the report.
    pub(super) fn purpose(self) -> &'static str {
        match self {
            Self::Idle => "silent, looks every few seconds",
            Self::Select => "point selects",
            Self::Transaction => "transactions held open",
            Self::Prepared => "statements prepared once",
            Self::Result => "results of up to 1 MB, checksummed",
            Self::Bank => "transfers; the total must not change",
            Self::State => "variables, temporary tables, locks, ids",
            Self::Portable => "what another server could be told as well",
            Self::Own => "reads what it has written",
            Self::Connect => "connect, one select, quit",
        }
    }

    /// Its place in an array with one entry a class.
    pub(super) fn index(self) -> usize {
        self as usize
    }

    /// Its share where `--mix` says nothing.
    fn default_weight(self) -> u32 {
        match self {
            Self::Idle => 30,
            Self::Select => 25,
            Self::Transaction | Self::Prepared | Self::Bank => 10,
            Self::State | Self::Portable | Self::Result => 4,
            Self::Connect => 3,
            // Asks more of a cluster than plain replication gives: only with `--servers`.
            Self::Own => 0,
        }
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The weights of the classes: `select=3,idle=1`; a class that is not named has none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mix {
    weights: [u32; Class::ALL.len()],
}

impl Default for Mix {
    fn default() -> Self {
        Self { weights: Class::ALL.map(Class::default_weight) }
    }
}

impl FromStr for Mix {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut weights = [0; Class::ALL.len()];
        for part in text.split(',') {
            let (name, weight) = part.trim().split_once('=').unwrap_or((part.trim(), "1"));
            let Some(class) = Class::ALL.into_iter().find(|class| class.name() == name) else {
                let names = Class::ALL.map(Class::name).join(", ");
                return Err(format!("'{name}': expected one of {names}"));
            };
            // A million is more than anybody needs, and small enough that no product overflows.
            let weight = weight.parse().ok().filter(|weight| *weight <= 1_000_000);
            weights[class.index()] =
                weight.ok_or_else(|| format!("'{part}': expected CLASS=WEIGHT, up to 1000000"))?;
        }
        if weights.iter().all(|weight| *weight == 0) {
            return Err(format!("'{text}': expected a weight above 0"));
        }
        Ok(Self { weights })
    }
}

impl Mix {
    /// The same with clients that read their own writes, if it has none.
    pub(crate) fn with_own(mut self) -> Self {
        let own = Class::Own.index();
        if self.weights[own] == 0 {
            // A fifth of all connections.
            self.weights[own] = self.weights.iter().sum::<u32>().div_ceil(4);
        }
        self
    }

    /// Shares `connections` out by weight, what is left over to those that were rounded down most.
    /// Each class with a weight gets one if there are enough to go round.
    pub(super) fn share(&self, connections: usize) -> [usize; Class::ALL.len()] {
        if self.weights.iter().filter(|weight| **weight > 0).count() > connections {
            return self.heaviest(connections);
        }
        let total: u64 = self.weights.iter().map(|weight| u64::from(*weight)).sum();
        let mut counts = [0; Class::ALL.len()];
        let mut remainders = Vec::new();
        for (index, weight) in self.weights.iter().enumerate() {
            let part = connections as u64 * u64::from(*weight);
            counts[index] = (part / total) as usize;
            remainders.push((part % total, index));
        }
        remainders.sort_by_key(|(remainder, index)| (std::cmp::Reverse(*remainder), *index));
        let left = connections - counts.iter().sum::<usize>();
        for (_, index) in remainders.into_iter().take(left) {
            counts[index] += 1;
        }
        self.feed_the_hungry(&mut counts);
        counts
    }

    /// Gives one to each class that has a weight and got none, from the one that has most.
    fn feed_the_hungry(&self, counts: &mut [usize; Class::ALL.len()]) {
        for index in 0..counts.len() {
            if self.weights[index] > 0 && counts[index] == 0 {
                let richest = (0..counts.len()).max_by_key(|other| counts[*other]).unwrap_or(index);
                counts[richest] -= 1;
                counts[index] += 1;
            }
        }
    }

    /// Fewer connections than classes: one each for the heaviest.
    fn heaviest(&self, connections: usize) -> [usize; Class::ALL.len()] {
        let mut order: Vec<usize> = (0..Class::ALL.len()).collect();
        order.sort_by_key(|index| (std::cmp::Reverse(self.weights[*index]), *index));
        let mut counts = [0; Class::ALL.len()];
        for index in order.into_iter().take(connections) {
            counts[index] = 1;
        }
        counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_class_with_a_weight_gets_a_connection() {
        let counts = Mix::default().with_own().share(16);
        assert!(counts.iter().all(|count| *count >= 1), "{counts:?}");
        assert_eq!(counts.iter().sum::<usize>(), 16);
        assert_eq!(Mix::default().share(1000)[Class::Own.index()], 0);
        assert_eq!(Mix::default().with_own().share(1000)[Class::Own.index()], 200);
    }

    #[test]
    fn shares_add_up_for_every_number() {
        for connections in 0..300 {
            let counts = Mix::default().share(connections);
            assert_eq!(counts.iter().sum::<usize>(), connections);
        }
    }

    #[test]
    fn a_class_that_is_not_named_gets_nothing() {
        let mix: Mix = "select=3, idle".parse().unwrap();
        assert_eq!(mix.share(8), [2, 6, 0, 0, 0, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["", "selekt=1", "select=x", "select=0", "select=1,,", "bank=1000001"] {
            assert!(text.parse::<Mix>().is_err(), "{text}");
        }
    }
}
