//! Files that outlive every process: each is as it was before, or as it is after, never between.
//!
//! A text is written whole under another name and synced; then it gets its name, and the directory
//! is synced. Several processes may write one file: the last one's text stands, and is whole.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A longer one is none of ours.
const LONGEST: u64 = 64 << 20;

/// The end of names under which files are written.
const DRAFT: &str = ".new";

/// What has not got its name by then never will: its writer has died. If he lives after all, he
/// finds it gone, which is an error as others are.
const ABANDONED: Duration = Duration::from_secs(60);

/// What a file holds; None: there is none.
///
/// # Errors
///
/// It cannot be read.
pub(crate) fn read(path: &Path) -> io::Result<Option<String>> {
    let text = fs::metadata(path).and_then(|found| match found.len() {
        0..=LONGEST => fs::read_to_string(path),
        more => Err(io::Error::other(format!("{more} bytes, expected at most {LONGEST}"))),
    });
    match text {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        other => other.map(Some),
    }
}

/// A text that is written, but not under its name.
#[derive(Debug)]
pub(crate) struct Draft {
    draft: PathBuf,
    path: PathBuf,
}

impl Draft {
    /// Writes a text, for its owner's eyes.
    ///
    /// # Errors
    ///
    /// It cannot be written: the disk is full, or the directory is missing or somebody else's.
    pub(crate) fn write(path: &Path, text: &str) -> io::Result<Self> {
        sweep(path);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        // Of this instant in this process: nobody else has it, also where pids mean less.
        let suffix = format!(".{}-{}{DRAFT}", std::process::id(), now.as_nanos());
        let mut name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_owned();
        name.push(suffix);
        let draft = Self { draft: path.with_file_name(name), path: path.to_owned() };
        let options = OpenOptions::new().write(true).create_new(true).mode(0o600).clone();
        let mut file = options.open(&draft.draft)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        Ok(draft)
    }

    /// Gives it its name, for good.
    ///
    /// # Errors
    ///
    /// It has not got it, or might not have it after a power failure.
    pub(crate) fn publish(self) -> io::Result<()> {
        fs::rename(&self.draft, &self.path)?;
        File::open(directory(&self.path))?.sync_all()
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // If it is published, it is not there any more.
        let _ = fs::remove_file(&self.draft);
    }
}

/// Removes drafts of this file whose writers have died.
fn sweep(path: &Path) {
    let Some(name) = path.file_name().and_then(|name| name.to_str()) else { return };
    let Ok(entries) = fs::read_dir(directory(path)) else { return };
    for entry in entries.flatten() {
        let is_draft = entry.file_name().to_str().is_some_and(|found| {
            found.strip_prefix(name).is_some_and(|rest| {
                rest.starts_with('.') && rest.ends_with(DRAFT) && rest.len() > DRAFT.len()
            })
        });
        let written = entry.metadata().and_then(|found| found.modified());
        let is_old = written.is_ok_and(|at| at.elapsed().is_ok_and(|age| age > ABANDONED));
        if is_draft && is_old {
            let _ = fs::remove_file(entry.path());
        }
    }
}

fn directory(path: &Path) -> &Path {
    path.parent().filter(|it| !it.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn names(directory: &Path) -> Vec<String> {
        let entries = fs::read_dir(directory).expect("ours").flatten();
        let mut names: Vec<String> =
            entries.map(|it| it.file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_text_has_its_name_when_it_is_whole() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("x.toml");
        assert_eq!(read(&path).expect("none is no error"), None);
        let draft = Draft::write(&path, "one").expect("ours");
        assert_eq!(read(&path).expect("not yet"), None);
        draft.publish().expect("ours");
        assert_eq!(read(&path).expect("there").as_deref(), Some("one"));
        assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
        drop(Draft::write(&path, "two").expect("ours"));
        assert_eq!(read(&path).expect("there").as_deref(), Some("one"));
        assert_eq!(names(directory.path()), ["x.toml"]);
    }

    #[test]
    fn of_two_writers_the_last_is_read_whole() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("x");
        let texts = ["a".repeat(100_000), "b".repeat(50_000)];
        std::thread::scope(|scope| {
            for text in &texts {
                let path = &path;
                scope.spawn(move || {
                    for _ in 0..20 {
                        Draft::write(path, text).expect("ours").publish().expect("ours");
                        let found = read(path).expect("there").expect("there");
                        let first = found.chars().next().expect("not empty");
                        assert!(found.chars().all(|c| c == first));
                        assert!([100_000, 50_000].contains(&found.len()));
                    }
                });
            }
        });
        assert_eq!(names(directory.path()), ["x"]);
    }

    #[test]
    fn what_the_dead_have_begun_goes_and_the_rest_stays() {
        let directory = tempfile::tempdir().expect("a directory");
        let old = SystemTime::now() - 2 * ABANDONED;
        for name in ["x.1-2.new", "x.new", "y.1-2.new", "x.toml.1-2.new"] {
            let file = File::create(directory.path().join(name)).expect("ours");
            file.set_modified(old).expect("ours");
        }
        File::create(directory.path().join("x.3-4.new")).expect("ours");
        let path = directory.path().join("x");
        Draft::write(&path, "").expect("ours").publish().expect("ours");
        let left = names(directory.path());
        assert_eq!(left, ["x", "x.3-4.new", "x.new", "y.1-2.new"]);
    }

    #[test]
    fn what_cannot_be_written_changes_nothing() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("missing").join("x");
        assert!(Draft::write(&path, "one").is_err());
        let path = directory.path().join("x");
        fs::create_dir(&path).expect("ours");
        assert!(Draft::write(&path, "one").expect("ours").publish().is_err());
        assert_eq!(names(directory.path()), ["x"]);
    }
}
