//! Something small that outlives this process: a file of JSON, written whole.
//!
//! Successors read what predecessors wrote, also what they wrote last: whoever does not find
//! something looks whether the file is a new one. Invariant: the file is one that was written
//! whole, or none; what it has is nobody's business but ours.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Files that are longer are not ours.
const LONGEST: u64 = 4 << 20;

/// What a file has, and which file that was.
#[derive(Debug)]
pub(super) struct Kept<T>(Arc<Inner<T>>);

#[derive(Debug)]
struct Inner<T> {
    path: PathBuf,
    held: Mutex<Held<T>>,
}

#[derive(Debug)]
struct Held<T> {
    value: T,
    /// Inode and time of the file.
    of: Option<(u64, i64, i64)>,
}

impl<T> Clone for Kept<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T: Clone + Default + Serialize + DeserializeOwned + Send + 'static> Kept<T> {
    pub(super) fn new(path: PathBuf) -> Self {
        let held = Mutex::new(Held { value: T::default(), of: None });
        Self(Arc::new(Inner { path, held }))
    }

    /// What `find` finds in it; if that is nothing, in what the file has by now.
    pub(super) fn find<F>(&self, find: impl Fn(&T) -> Option<F>) -> Option<F> {
        let mut held = self.0.held();
        find(&held.value).or_else(|| {
            self.0.refresh(&mut held);
            find(&held.value)
        })
    }

    /// Changes it, and writes it if `change` says so.
    pub(super) async fn change<R: Send + 'static>(
        &self,
        change: impl FnOnce(&mut T) -> R + Send + 'static,
    ) -> io::Result<R> {
        let inner = self.0.clone();
        let changed = tokio::task::spawn_blocking(move || {
            let mut held = inner.held();
            inner.refresh(&mut held);
            let mut value = held.value.clone();
            let result = change(&mut value);
            inner.write(&value)?;
            held.of = inner.stamp();
            held.value = value;
            Ok(result)
        });
        changed.await.map_err(io::Error::other)?
    }
}

impl<T: Default + Serialize + DeserializeOwned> Inner<T> {
    fn held(&self) -> MutexGuard<'_, Held<T>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stamp(&self) -> Option<(u64, i64, i64)> {
        let file = std::fs::metadata(&self.path).ok()?;
        Some((file.ino(), file.mtime(), file.mtime_nsec()))
    }

    fn refresh(&self, held: &mut Held<T>) {
        let stamp = self.stamp();
        if stamp.is_none() || stamp == held.of {
            return;
        }
        held.of = stamp;
        match self.read() {
            Ok(value) => held.value = value,
            Err(error) => {
                tracing::warn!(path = %self.path.display(), %error, "left aside");
            }
        }
    }

    fn read(&self) -> io::Result<T> {
        if std::fs::metadata(&self.path)?.len() > LONGEST {
            return Err(io::Error::other("it is too long"));
        }
        Ok(serde_json::from_slice(&std::fs::read(&self.path)?)?)
    }

    fn write(&self, value: &T) -> io::Result<()> {
        let new = self.path.with_extension(format!("{}.new", std::process::id()));
        let mut options = File::options();
        let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        file.write_all(&serde_json::to_vec(value)?)?;
        file.sync_data()?;
        std::fs::rename(&new, &self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Numbers = Kept<Vec<u32>>;

    #[tokio::test]
    async fn what_one_has_written_another_finds() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("numbers");
        let (one, other) = (Numbers::new(path.clone()), Numbers::new(path));
        let has = |of: &Numbers, number| of.find(|all| all.contains(&number).then_some(()));
        assert_eq!(has(&other, 7), None);
        one.change(|all| all.push(7)).await.expect("it is written");
        assert_eq!(has(&other, 7), Some(()));
        other.change(|all| all.push(8)).await.expect("it is written");
        one.change(|all| all.push(9)).await.expect("it is written");
        assert_eq!(other.find(|all| (all.len() == 3).then(|| all.clone())), Some(vec![7, 8, 9]));
    }

    #[tokio::test]
    async fn a_damaged_file_is_left_aside_and_written_anew() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("numbers");
        std::fs::write(&path, "[1,").expect("ours");
        let kept = Numbers::new(path.clone());
        assert_eq!(kept.find(|all| all.first().copied()), None);
        kept.change(|all| all.push(2)).await.expect("it is written");
        assert_eq!(std::fs::read(&path).expect("the file"), b"[2]");
        let file = std::fs::metadata(&path).expect("the file");
        assert_eq!(file.mode() & 0o777, 0o600);
    }
}
