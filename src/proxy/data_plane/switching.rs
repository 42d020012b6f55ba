//! [`Proxy`] as somebody sees it who wants another primary.

use super::Proxy;
use crate::proxy::switchover::{NotSwitched, Others, Scene, Switched};
use crate::task::{self, Panicked};

impl Proxy {
    /// Makes a replica of a cluster its primary, with all sessions. It goes on if nobody waits.
    ///
    /// # Errors
    ///
    /// Why nothing has changed.
    pub async fn switch_over(
        &self,
        cluster: &str,
        address: &str,
        force: bool,
        others: Option<Box<dyn Others>>,
    ) -> Result<Switched, NotSwitched> {
        let scene = self.switchover_scene();
        let (cluster, address) = (cluster.to_owned(), address.to_owned());
        let switched = task::spawn("switchover", async move {
            let Some(mut others) = others else {
                return Box::pin(scene.switch(&cluster, &address, force, None)).await;
            };
            let switched = scene.switch(&cluster, &address, force, Some(&mut *others));
            let switched = Box::pin(switched).await;
            others.over().await;
            switched
        });
        let panicked = Err(NotSwitched::Panicked);
        switched.await.unwrap_or(Err(Panicked)).unwrap_or(panicked)
    }

    /// Another proxy is about to make a replica the primary: each session is logged in there, and
    /// goes on meanwhile.
    ///
    /// # Errors
    ///
    /// Why they will not wait.
    pub async fn expect_switchover(
        &self,
        cluster: &str,
        address: &str,
        force: bool,
    ) -> Result<(), NotSwitched> {
        self.elsewhere.expect(self.switchover_scene(), cluster, address, force).await
    }

    /// All of them wait now; how many.
    ///
    /// # Errors
    ///
    /// Why they do not.
    pub async fn wait_for_switchover(&self, cluster: &str) -> Result<usize, NotSwitched> {
        self.elsewhere.wait(cluster).await
    }

    /// It is over, however it has ended; done when they go on.
    pub async fn switchover_is_over(&self, cluster: &str) {
        self.elsewhere.over(cluster).await;
    }

    fn switchover_scene(&self) -> Scene {
        let Self { in_force, orders, sessions, .. } = self;
        let (in_force, orders, sessions) = (in_force.clone(), orders.clone(), sessions.clone());
        Scene { in_force, orders, sessions }
    }
}
