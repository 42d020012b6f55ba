//! How long servers may take in one log-in, so that each gets its turn.

use std::time::Duration;

/// What there is to give to the servers of a cluster in one log-in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// The time from a client's connect, for all servers.
    pub whole: Duration,
    /// The most that any one gets.
    pub most: Duration,
    /// How many servers there are.
    pub servers: usize,
}

/// How long a server may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allotment {
    /// It is given up then, so that the others get their time.
    pub limit: Duration,
    /// Whoever was waited for in vain for so long is at fault. Less was left by a client that was
    /// slow itself, which tells nothing of the server.
    pub fair: Duration,
}

impl Budget {
    /// For a log-in within `login`, of which the last twentieth is kept to tell the client what
    /// went wrong.
    pub fn new(login: Duration, most: Duration, servers: usize) -> Self {
        Self { whole: login - login / 20, most, servers }
    }

    /// The next server's part of what is left for so many: an equal one, as nothing is known of
    /// who will need it.
    pub fn allot(&self, left: Duration, untried: usize) -> Allotment {
        Allotment {
            limit: self.share(left, untried),
            // Half, as each wait before has taken a little more than its part.
            fair: self.share(self.whole, self.servers) / 2,
        }
    }

    fn share(&self, time: Duration, servers: usize) -> Duration {
        let servers = u32::try_from(servers.max(1)).unwrap_or(u32::MAX);
        self.most.min(time / servers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_server_gets_a_part_of_the_time_that_is_left() {
        let ms = Duration::from_millis;
        // Log-in, most for one, servers; left, untried; limit, fair.
        let table = [
            ((10_000, 10_000, 1), (9_500, 1), (9_500, 4_750)),
            ((10_000, 2_000, 1), (9_500, 1), (2_000, 1_000)),
            ((10_000, 10_000, 2), (9_500, 2), (4_750, 2_375)),
            // The first has had its part.
            ((10_000, 10_000, 2), (4_740, 1), (4_740, 2_375)),
            // It failed at once: the second gets nearly all.
            ((10_000, 10_000, 2), (9_490, 1), (9_490, 2_375)),
            // The client has used it up, which is no server's fault.
            ((10_000, 10_000, 2), (100, 2), (50, 2_375)),
            ((10_000, 10_000, 2), (0, 2), (0, 2_375)),
            ((300, 10_000, 3), (285, 3), (95, 47)),
            ((10_000, 1_000, 4), (9_500, 4), (1_000, 500)),
            ((10_000, 10_000, 0), (9_500, 0), (9_500, 4_750)),
        ];
        for ((login, most, servers), (left, untried), (limit, fair)) in table {
            let budget = Budget::new(ms(login), ms(most), servers);
            let Allotment { limit: allotted, fair: fairly } = budget.allot(ms(left), untried);
            let got = (allotted.as_millis(), fairly.as_millis());
            assert_eq!(got, (limit, fair), "{budget:?}, {left} for {untried}");
        }
    }

    /// However long each takes, all get a turn, and none is left less than its fair time.
    #[test]
    fn hung_servers_leave_the_others_their_time() {
        for servers in 1..20 {
            let budget = Budget::new(Duration::from_secs(10), Duration::from_secs(10), servers);
            let mut left = budget.whole;
            for untried in (1..=servers).rev() {
                let Allotment { limit, fair } = budget.allot(left, untried);
                assert!(limit >= fair, "{servers} servers, {untried} untried");
                left -= limit;
            }
        }
    }
}
