//! Tasks in memory, and in `state_dir`, where they outlive the process that coordinates them.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::task::spawn_blocking;

use super::record::{State, Task};
use crate::config::Config;
use crate::restart::prepare_run_dir;
use crate::state::{self, Draft};

/// The file in `state_dir`.
const FILE: &str = "fleet.json";
/// What is put aside because it is damaged.
const DAMAGED: &str = "fleet.json.damaged";
/// Tasks that are remembered.
const MOST: usize = 100;

/// What is kept.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Kept {
    /// Whose tasks these are.
    run_dir: PathBuf,
    /// Of the task that was begun last.
    last_id: u64,
    /// The oldest first.
    tasks: Vec<Task>,
}

/// See above.
#[derive(Debug)]
pub(super) struct Store {
    /// None: nothing can be kept.
    path: Option<PathBuf>,
    run_dir: PathBuf,
    kept: Mutex<Kept>,
    /// Held while the file is written: later changes are written later.
    writing: Arc<tokio::sync::Mutex<()>>,
    revision: watch::Sender<u64>,
}

impl Store {
    /// Empty, where the config says.
    pub(super) fn new(config: &Config) -> Self {
        let state_dir = &config.proxy.state_dir;
        Self {
            path: (!state_dir.as_os_str().is_empty()).then(|| state_dir.join(FILE)),
            run_dir: config.proxy.run_dir.clone(),
            kept: Mutex::default(),
            writing: Arc::default(),
            revision: watch::Sender::new(0),
        }
    }

    /// Counts changes.
    pub(super) fn watch(&self) -> watch::Receiver<u64> {
        self.revision.subscribe()
    }

    /// All of them, the newest first.
    pub(super) fn list(&self) -> Vec<Task> {
        self.kept().tasks.iter().rev().cloned().collect()
    }

    /// The one that is under way.
    pub(super) fn under_way(&self) -> Option<u64> {
        let kept = self.kept();
        let found = kept.tasks.iter().find(|task| task.state == State::InProgress);
        found.map(|task| task.id)
    }

    /// Adds one; its id.
    pub(super) fn add(&self, mut task: Task) -> u64 {
        let mut kept = self.kept();
        kept.last_id += 1;
        task.id = kept.last_id;
        kept.tasks.push(task);
        while kept.tasks.len() > MOST {
            kept.tasks.remove(0);
        }
        let id = kept.last_id;
        drop(kept);
        self.revision.send_modify(|revision| *revision += 1);
        id
    }

    /// Removes one that was never begun.
    pub(super) fn forget(&self, id: u64) {
        self.kept().tasks.retain(|task| task.id != id);
        self.revision.send_modify(|revision| *revision += 1);
    }

    /// Changes one, for whoever lives; None: there is none with this id.
    pub(super) fn change<T>(&self, id: u64, change: impl FnOnce(&mut Task) -> T) -> Option<T> {
        let mut kept = self.kept();
        let task = kept.tasks.iter_mut().find(|task| task.id == id)?;
        let before = task.clone();
        let changed = change(task);
        let is_other = *task != before;
        drop(kept);
        if is_other {
            self.revision.send_modify(|revision| *revision += 1);
        }
        Some(changed)
    }

    /// The newest one that is so.
    pub(super) fn newest(&self, is_so: impl Fn(&Task) -> bool) -> Option<u64> {
        let kept = self.kept();
        let found = kept.tasks.iter().rev().find(|task| is_so(task));
        found.map(|task| task.id)
    }

    /// One of them.
    pub(super) fn find(&self, id: u64) -> Option<Task> {
        self.kept().tasks.iter().find(|task| task.id == id).cloned()
    }

    /// Takes what is kept, which another process may have written.
    pub(super) async fn load(self: &Arc<Self>) {
        let store = self.clone();
        match spawn_blocking(move || store.read()).await {
            Ok(Ok(Some(kept))) => {
                *self.kept() = kept;
                self.revision.send_modify(|revision| *revision += 1);
            }
            Ok(Ok(None)) => {}
            Ok(Err(error)) => tracing::error!(error, "fleet tasks of before are not known"),
            Err(error) => tracing::error!(%error, "fleet tasks of before are not known"),
        }
    }

    /// Keeps all of them as they are now; why that cannot be.
    pub(super) async fn save(self: &Arc<Self>) -> Result<(), String> {
        let writing = self.writing.clone().lock_owned().await;
        let store = self.clone();
        let written = spawn_blocking(move || {
            let written = store.write();
            drop(writing);
            written
        });
        written.await.unwrap_or_else(|error| Err(error.to_string()))
    }

    fn read(&self) -> Result<Option<Kept>, String> {
        let Some(path) = &self.path else { return Ok(None) };
        let failed = |error: std::io::Error| format!("{}: {error}", path.display());
        let Some(text) = state::read(path).map_err(failed)? else { return Ok(None) };
        match serde_json::from_str::<Kept>(&text) {
            Ok(kept) if kept.run_dir == self.run_dir => Ok(Some(kept)),
            Ok(kept) => Err(others(path, &kept.run_dir)),
            Err(error) => {
                std::fs::rename(path, path.with_file_name(DAMAGED)).map_err(failed)?;
                Err(format!("{}: {error}; put aside as {DAMAGED}", path.display()))
            }
        }
    }

    fn write(&self) -> Result<(), String> {
        let expected = "fleet tasks are kept in proxy.state_dir";
        let Some(path) = &self.path else { return Err(format!("{expected}, which is empty")) };
        let directory = path.parent().unwrap_or(Path::new("."));
        let failed = |what: &Path, error| format!("{expected}: {}: {error}", what.display());
        prepare_run_dir(directory).map_err(|error| failed(directory, error))?;
        // Only that much of it: what is damaged is replaced.
        #[derive(Deserialize)]
        struct Owner {
            run_dir: PathBuf,
        }
        let found = state::read(path).map_err(|error| failed(path, error))?;
        if let Some(Ok(owner)) = found.map(|text| serde_json::from_str::<Owner>(&text))
            && owner.run_dir != self.run_dir
        {
            return Err(format!("{expected}: {}", others(path, &owner.run_dir)));
        }
        let kept = Kept { run_dir: self.run_dir.clone(), ..self.kept().clone() };
        let text = serde_json::to_string_pretty(&kept).map_err(|error| error.to_string())?;
        let draft = Draft::write(path, &text).map_err(|error| failed(path, error))?;
        draft.publish().map_err(|error| failed(path, error))
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn others(path: &Path, run_dir: &Path) -> String {
    format!("{} is that of the proxy with run_dir {}", path.display(), run_dir.display())
}

#[cfg(test)]
mod tests {
    use super::super::record::{Request, Stage};
    use super::*;

    fn store(directory: &Path, run_dir: &str) -> Arc<Store> {
        let state_dir = directory.display();
        let text = format!(
            "[proxy]\nstate_dir = '{state_dir}'\nrun_dir = '{run_dir}'\n[[cluster]]\nname = 'a'\n\
             [[cluster.server]]\naddress = 'h:1'\n"
        );
        Arc::new(Store::new(&Config::parse(&text, "x".as_ref()).expect("a config")))
    }

    fn task() -> Task {
        Task {
            id: 0,
            request: Request::default(),
            by: "root".into(),
            started_at_ms: 1,
            ended_at_ms: None,
            state: State::InProgress,
            stage: Stage::Rolling,
            is_stopping: false,
            steps: Vec::new(),
            detail: String::new(),
        }
    }

    #[tokio::test]
    async fn what_is_kept_is_known_to_the_next_process() {
        let directory = tempfile::tempdir().expect("a directory");
        let one = store(directory.path(), "/r");
        let mut revisions = one.watch();
        assert_eq!([one.add(task()), one.add(task())], [1, 2]);
        assert!(revisions.has_changed().expect("it lives"));
        one.save().await.expect("ours");
        one.change(1, |task| task.state = State::Completed).expect("it is there");
        one.save().await.expect("ours");
        let other = store(directory.path(), "/r");
        assert_eq!(other.list(), []);
        other.load().await;
        assert_eq!(other.list(), one.list());
        assert_eq!((other.under_way(), other.add(task())), (Some(2), 3));
        revisions.borrow_and_update();
        one.change(2, |task| task.id).expect("it is there");
        assert!(!revisions.has_changed().expect("it lives"), "nothing was changed");
    }

    #[tokio::test]
    async fn another_proxys_tasks_are_left_alone_and_damaged_ones_put_aside() {
        let directory = tempfile::tempdir().expect("a directory");
        let one = store(directory.path(), "/r");
        one.add(task());
        one.save().await.expect("ours");
        let other = store(directory.path(), "/other");
        other.load().await;
        assert_eq!(other.list(), []);
        let why = other.save().await.expect_err("it is the first one's");
        assert!(why.contains("is that of the proxy with run_dir /r"), "{why}");
        std::fs::write(directory.path().join(FILE), "{").expect("ours");
        let next = store(directory.path(), "/r");
        next.load().await;
        assert!(next.list().is_empty() && directory.path().join(DAMAGED).exists());
        next.save().await.expect("there is room for a new one");
        let nowhere = store("".as_ref(), "/r");
        assert!(nowhere.save().await.is_err());
    }

    #[test]
    fn so_many_are_remembered() {
        let store = store("".as_ref(), "/r");
        for _ in 0..MOST + 5 {
            store.add(task());
        }
        let ids: Vec<u64> = store.list().iter().map(|task| task.id).collect();
        assert_eq!((ids.len(), ids[0], ids[MOST - 1]), (MOST, MOST as u64 + 5, 6));
    }
}
