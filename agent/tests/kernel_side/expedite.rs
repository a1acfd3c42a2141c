//! What is written down of a parameter that is changed, on a bpf file system. The parameter is a file
//! of the test's.

use std::fs;
use std::path::{Path, PathBuf};

use waysteer::kernel::expedite::{Debt, Expediter, debt, put_back};
use waysteer::kernel::pins::PinRoot;

use crate::needs_root;

/// A directory of pins, and a file; both are removed at the end.
struct Place {
    pins: PathBuf,
    scratch: PathBuf,
}

impl Place {
    fn new(name: &str) -> Self {
        let name = format!("waysteer-expedite-{name}-{}", std::process::id());
        let place = Self {
            pins: Path::new("/sys/fs/bpf").join(&name),
            scratch: std::env::temp_dir().join(&name),
        };
        fs::create_dir_all(&place.scratch).expect("a directory");
        fs::write(place.file(), "0\n").expect("a file");
        place
    }

    fn root(&self) -> PinRoot {
        PinRoot::open(&self.pins).expect("a directory of pins")
    }

    fn file(&self) -> PathBuf {
        self.scratch.join("rcu_expedited")
    }

    fn value(&self) -> String {
        let value = fs::read_to_string(self.file()).expect("the file");
        value.trim().to_owned()
    }

    fn debt(&self) -> Option<Debt> {
        debt(&self.pins).expect("what is written down")
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.pins);
        let _ = fs::remove_dir_all(&self.scratch);
    }
}

#[test]
fn what_a_killed_agent_has_changed_is_put_back_by_the_next() {
    needs_root!();
    let place = Place::new("next");
    let file = place.file();
    let root = place.root();
    let expediter = Expediter::open(&root, Some(&file));
    assert_eq!(place.debt(), None);
    let hold = expediter.hold();
    assert_eq!(place.value(), "1");
    let expected = Debt {
        file: file.clone(),
        before: "0".into(),
    };
    assert_eq!(place.debt(), Some(expected));
    // As with a process that is killed, nothing is dropped.
    std::mem::forget(hold);
    std::mem::forget(expediter);

    // Also by one that is not to change anything.
    drop(Expediter::open(&root, None));
    assert_eq!(place.value(), "0");
    assert_eq!(place.debt(), None);
    assert_eq!(put_back(&root).expect("nothing to do"), None);
    let expediter = Expediter::open(&root, Some(&file));
    drop(expediter.hold());
    assert_eq!(place.value(), "0");
    assert_eq!(place.debt(), None);
    assert!(root.close().expect("an empty directory"));
}

#[test]
fn what_cannot_be_put_back_stays_written_down() {
    needs_root!();
    let place = Place::new("away");
    let root = place.root();
    let expediter = Expediter::open(&root, Some(&place.file()));
    std::mem::forget(expediter.hold());
    let away = place.scratch.join("away");
    fs::rename(place.file(), &away).expect("the file is moved");
    let error = put_back(&root).expect_err("there is no file").to_string();
    assert!(error.starts_with("cannot read "), "{error}");
    let before = place.debt();
    assert!(before.is_some());

    // One that works by another file does not write over it.
    let other = place.scratch.join("other");
    fs::write(&other, "0").expect("a file");
    let next = Expediter::open(&root, Some(&other));
    drop(next.hold());
    assert_eq!(place.debt(), before);
    assert_eq!(fs::read_to_string(&other).expect("the file"), "0");

    fs::rename(&away, place.file()).expect("the file is moved back");
    assert_eq!(put_back(&root).expect("put back"), before);
    assert_eq!(place.value(), "0");
}
