//! With a file of a temporary directory for the kernel's, and a ledger that remembers.

use std::fs::{self, OpenOptions, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

/// A file like the kernel's; its directory is removed at the end.
struct File(PathBuf);

impl File {
    fn new(value: &str) -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("waysteer-expedite-{}-{count}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        fs::create_dir_all(&directory).unwrap();
        let file = directory.join("rcu_expedited");
        fs::write(&file, value).unwrap();
        Self(file)
    }

    fn value(&self) -> String {
        fs::read_to_string(&self.0).unwrap().trim().to_owned()
    }

    fn expediter(&self, book: &Arc<Book>) -> Expediter {
        Expediter::new(Some(Means {
            parameter: Parameter::new(&self.0),
            ledger: Box::new(Line {
                book: book.clone(),
                file: self.0.clone(),
            }),
        }))
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _removed = fs::remove_dir_all(self.0.parent().unwrap());
    }
}

/// What was in the file when it was written down and when it was struck out.
#[derive(Debug, Default)]
struct Book {
    entered: Mutex<Vec<String>>,
    struck: Mutex<Vec<String>>,
    is_closed: bool,
}

impl Book {
    fn lines(&self) -> (Vec<String>, Vec<String>) {
        let of = |lines: &Mutex<Vec<String>>| lines.lock().unwrap().clone();
        (of(&self.entered), of(&self.struck))
    }
}

#[derive(Debug)]
struct Line {
    book: Arc<Book>,
    file: PathBuf,
}

impl Line {
    fn note(&self, lines: &Mutex<Vec<String>>) -> Result<(), ExpediteError> {
        if self.book.is_closed {
            return Err(ExpediteError::Ledger {
                file: self.file.clone(),
                source: io::Error::other("no room"),
            });
        }
        let value = fs::read_to_string(&self.file).unwrap();
        lines.lock().unwrap().push(value.trim().to_owned());
        Ok(())
    }
}

impl Ledger for Line {
    fn enter(&self) -> Result<(), ExpediteError> {
        self.note(&self.book.entered)
    }

    fn strike(&self) -> Result<(), ExpediteError> {
        self.note(&self.book.struck)
    }
}

fn lines(entered: &[&str], struck: &[&str]) -> (Vec<String>, Vec<String>) {
    let of = |lines: &[&str]| lines.iter().map(ToString::to_string).collect();
    (of(entered), of(struck))
}

#[test]
fn it_is_written_down_before_and_struck_out_after() {
    let (file, book) = (File::new("0\n"), Arc::default());
    let expediter = file.expediter(&book);
    let hold = expediter.hold();
    assert_eq!(file.value(), "1");
    // Not changed yet when it was written down.
    assert_eq!(book.lines(), lines(&["0"], &[]));
    drop(hold);
    assert_eq!(file.value(), "0");
    assert_eq!(book.lines(), lines(&["0"], &["0"]));
    drop(expediter.hold());
    assert_eq!(book.lines(), lines(&["0", "0"], &["0", "0"]));
}

#[test]
fn the_last_of_many_puts_it_back() {
    let (file, book) = (File::new("0\n"), Arc::default());
    let expediter = file.expediter(&book);
    let (first, second) = (expediter.hold(), expediter.hold());
    drop(first);
    assert_eq!(file.value(), "1");
    let third = expediter.hold();
    drop(second);
    assert_eq!(file.value(), "1");
    drop(third);
    assert_eq!(file.value(), "0");
    assert_eq!(book.lines(), lines(&["0"], &["0"]));
}

#[test]
fn many_threads_leave_it_as_it_was() {
    let (file, book) = (File::new("0\n"), Arc::default());
    let expediter = file.expediter(&book);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..50 {
                    let _hold = expediter.hold();
                    assert_eq!(file.value(), "1");
                }
            });
        }
    });
    assert_eq!(file.value(), "0");
    let (entered, struck) = book.lines();
    assert!(!entered.is_empty());
    assert_eq!(entered.len(), struck.len());
    assert!(entered.iter().chain(&struck).all(|value| value == "0"));
}

#[test]
fn what_others_have_set_stays() {
    for value in ["1", "2"] {
        let (file, book) = (File::new(value), Arc::default());
        drop(file.expediter(&book).hold());
        assert_eq!(file.value(), value);
        assert_eq!(book.lines(), lines(&[], &[]), "{value}");
    }
    // Another agent has come to its end between ours.
    let (file, book) = (File::new("0"), Arc::default());
    let expediter = file.expediter(&book);
    let hold = expediter.hold();
    fs::write(&file.0, "0\n").unwrap();
    drop(hold);
    assert_eq!(file.value(), "0");
    assert_eq!(book.lines(), lines(&["0"], &["0"]));
    let hold = expediter.hold();
    fs::write(&file.0, "2\n").unwrap();
    drop(hold);
    assert_eq!(file.value(), "2");
}

#[test]
fn what_cannot_be_written_down_is_not_changed() {
    let file = File::new("0");
    let book = Arc::new(Book {
        is_closed: true,
        ..Book::default()
    });
    let expediter = file.expediter(&book);
    let hold = expediter.hold();
    assert_eq!(file.value(), "0");
    drop(hold);
    assert_eq!(file.value(), "0");
    assert!(expediter.lock().is_told);
}

#[test]
fn without_the_file_all_goes_on() {
    let (file, book) = (File::new("0"), Arc::default());
    let expediter = file.expediter(&book);
    fs::remove_file(&file.0).unwrap();
    drop(expediter.hold());
    assert!(expediter.lock().is_told);
    assert!(!file.0.exists());
    assert_eq!(book.lines(), lines(&[], &[]));
    let error = check(&file.0).unwrap_err().to_string();
    assert!(error.starts_with("cannot read /"), "{error}");
}

#[test]
fn what_cannot_be_put_back_stays_written_down_and_is_tried_again() {
    let (file, book) = (File::new("0"), Arc::default());
    let expediter = file.expediter(&book);
    let hold = expediter.hold();
    let away = file.0.with_extension("away");
    fs::rename(&file.0, &away).unwrap();
    drop(hold);
    assert_eq!(book.lines(), lines(&["0"], &[]));
    fs::rename(&away, &file.0).unwrap();
    assert_eq!(file.value(), "1");
    drop(expediter.hold());
    assert_eq!(file.value(), "0");
    assert_eq!(book.lines(), lines(&["0"], &["0"]));
}

#[test]
fn a_kernel_that_is_to_be_normal_is_left_alone() {
    let (file, book) = (File::new("0"), Arc::default());
    let normal = file.0.with_file_name("rcu_normal");
    fs::write(&normal, "1\n").unwrap();
    drop(file.expediter(&book).hold());
    assert_eq!(book.lines(), lines(&[], &[]));
    let error = check(&file.0).unwrap_err().to_string();
    let expected = format!("{} is 1: the kernel expedites nothing", normal.display());
    assert_eq!(error, expected);
    fs::write(&normal, "0\n").unwrap();
    check(&file.0).unwrap();
}

#[test]
fn a_file_that_cannot_be_written_is_told() {
    let (file, book) = (File::new("0"), Arc::default());
    fs::set_permissions(&file.0, Permissions::from_mode(0o400)).unwrap();
    if OpenOptions::new().write(true).open(&file.0).is_ok() {
        // Root may write all the same; a directory nobody may.
        fs::remove_file(&file.0).unwrap();
        fs::create_dir(&file.0).unwrap();
    }
    let expediter = file.expediter(&book);
    drop(expediter.hold());
    assert!(expediter.lock().is_told);
    assert_eq!(book.lines(), lines(&[], &[]));
    assert!(check(&file.0).is_err());
}
