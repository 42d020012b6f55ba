//! Tasks: whoever panics harms nobody else. The panic is logged and counted; what the process needs
//! is started again.
//!
//! | | for | after a panic |
//! |---|---|---|
//! | [`spawn`] | one connection, one order | it is over; its sockets are closed as its values drop |
//! | [`keep`] | accept loops, watchers, listeners | started again, sooner or later |
//! | [`caught`], [`attempt`] | what has something to bring in order | its caller does |
//!
//! [`see_through`] runs what all of them are for.
//!
//! Invariant: nobody else in the program spawns tasks. A task that panics by itself ends in
//! silence, and whatever waits for it waits for ever.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

/// Between a panic and the next start, if the last start was not long ago.
const SHORTEST_PAUSE: Duration = Duration::from_millis(10);

/// The pause doubles up to this; who has lived longer begins afresh.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

static PANICS: Mutex<BTreeMap<&'static str, u64>> = Mutex::new(BTreeMap::new());

/// It has panicked; that is logged and counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Panicked;

/// Runs what a program is for, and waits for nothing that it leaves behind: a resolver that does
/// not answer holds a thread for as long as it likes, and the end of a runtime would wait for it.
pub fn see_through<T>(runtime: Runtime, command: impl Future<Output = T>) -> T {
    let result = runtime.block_on(command);
    runtime.shutdown_background();
    result
}

/// How often which task has panicked.
pub fn panics() -> Vec<(&'static str, u64)> {
    lock().iter().map(|(task, count)| (*task, *count)).collect()
}

/// What a task does. The compiler makes all that belongs to a task once for each type of result,
/// and not for each of some 70 futures.
type Work<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Starts a task that ends some day.
pub fn spawn<T: Send + 'static>(
    task: &'static str,
    future: impl Future<Output = T> + Send + 'static,
) -> JoinHandle<Result<T, Panicked>> {
    let work: Work<T> = Box::pin(future);
    tokio::spawn(caught(task, work))
}

/// Starts a task that the process needs: when it panics, `make` makes another one. It is over when
/// one of them ends.
pub fn keep<F>(task: &'static str, mut make: impl FnMut() -> F + Send + 'static) -> JoinHandle<()>
where
    F: Future<Output = ()> + Send + 'static,
{
    tokio::spawn(kept(task, Box::new(move || Box::pin(make()))))
}

async fn kept(task: &'static str, mut make: Box<dyn FnMut() -> Work<()> + Send>) {
    let mut pause = Duration::ZERO;
    loop {
        let begun = Instant::now();
        if caught(task, make()).await.is_ok() {
            return;
        }
        if begun.elapsed() > LONGEST_PAUSE {
            pause = Duration::ZERO;
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).clamp(SHORTEST_PAUSE, LONGEST_PAUSE);
        tracing::warn!(task, "started again");
    }
}

/// What the future comes to, or that it panicked. It must not be polled again then. No async
/// function: that would keep its arguments twice, for each task.
pub fn caught<F: Future + Unpin>(
    task: &'static str,
    mut future: F,
) -> impl Future<Output = Result<F::Output, Panicked>> {
    poll_fn(move |cx| match attempt(task, || Pin::new(&mut future).poll(cx)) {
        Ok(poll) => poll.map(Ok),
        Err(panicked) => std::task::Poll::Ready(Err(panicked)),
    })
}

/// What the call comes to, or that it panicked.
pub fn attempt<T>(task: &'static str, call: impl FnOnce() -> T) -> Result<T, Panicked> {
    let call = || {
        injected::pass(task);
        call()
    };
    // What is left of it is dropped or brought in order by whoever owns it.
    catch_unwind(AssertUnwindSafe(call)).map_err(|_| {
        *lock().entry(task).or_default() += 1;
        tracing::error!(task, "a task has panicked");
        Panicked
    })
}

fn lock() -> MutexGuard<'static, BTreeMap<&'static str, u64>> {
    PANICS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Lets a test have a task panic. Nothing without the feature `crash-points`.
#[cfg(not(feature = "crash-points"))]
mod injected {
    #[inline]
    pub(super) fn pass(_task: &'static str) {}
}

/// Lets a test have a task panic: `ODP_PANIC_IN` names a file with `TASK` or `TASK:N` in it, whose
/// next N polls panic.
#[cfg(feature = "crash-points")]
mod injected {
    use std::sync::{LazyLock, Mutex, PoisonError};

    static FILE: LazyLock<Option<std::ffi::OsString>> =
        LazyLock::new(|| std::env::var_os("ODP_PANIC_IN"));
    static TURN: Mutex<()> = Mutex::new(());

    pub(super) fn pass(task: &'static str) {
        let Some(file) = &*FILE else { return };
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let text = std::fs::read_to_string(file).unwrap_or_default();
        let (name, times) = text.trim().split_once(':').unwrap_or((text.trim(), "1"));
        let times: u32 = times.parse().unwrap_or(1);
        if name != task {
            return;
        }
        let left = if times > 1 { format!("{name}:{}", times - 1) } else { String::new() };
        let written = std::fs::write(file, left);
        drop(turn);
        written.expect("the test's file can be written");
        panic!("injected panic in {task}");
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::sync::{mpsc, oneshot};

    use super::*;

    fn counted(task: &str) -> u64 {
        panics().iter().find(|(name, _)| *name == task).map_or(0, |(_, count)| *count)
    }

    #[tokio::test]
    async fn a_panic_ends_one_task_and_is_counted() {
        let (sender, receiver) = oneshot::channel::<()>();
        let task = spawn("test: one", async move {
            let _held = sender;
            panic!("as told");
        });
        assert_eq!(task.await.expect("it ends"), Err(Panicked));
        assert!(receiver.await.is_err(), "what it held is dropped");
        assert_eq!(counted("test: one"), 1);
    }

    #[tokio::test]
    async fn what_is_needed_is_started_again() {
        let (orders, received) = mpsc::channel::<u32>(8);
        let received = Arc::new(tokio::sync::Mutex::new(received));
        let (done, mut seen) = mpsc::unbounded_channel();
        let starts = Arc::new(AtomicUsize::new(0));
        let started = starts.clone();
        let kept = keep("test: kept", move || {
            let (received, done) = (received.clone(), done.clone());
            started.fetch_add(1, Ordering::Relaxed);
            async move {
                let mut received = received.lock().await;
                while let Some(order) = received.recv().await {
                    assert_ne!(order, 0, "as told");
                    done.send(order).expect("the test listens");
                }
            }
        });
        for order in [1, 0, 0, 2] {
            orders.send(order).await.expect("there is somebody");
        }
        assert_eq!((seen.recv().await, seen.recv().await), (Some(1), Some(2)));
        drop(orders);
        kept.await.expect("it ends in good order");
        assert_eq!((starts.load(Ordering::Relaxed), counted("test: kept")), (3, 2));
    }

    #[tokio::test]
    async fn whoever_catches_learns_it() {
        let fine = caught("test: caught", Box::pin(async { 7 })).await;
        assert_eq!(fine, Ok(7));
        let panicked = caught("test: caught", Box::pin(async { panic!("as told") })).await;
        assert_eq!(panicked, Err::<(), _>(Panicked));
    }
}
