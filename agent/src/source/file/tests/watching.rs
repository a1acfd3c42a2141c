//! Files that change while they are watched. Every wait is far shorter than the time after which
//! the files would be read again anyway.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::model::PodSpec;
use crate::source::Event;

const DEADLINE: Duration = Duration::from_secs(15);

/// A directory of its own, removed at the end.
struct Directory(PathBuf);

impl Directory {
    fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let id = std::process::id();
        let path = std::env::temp_dir().join(format!("waysteer-source-{id}-{count}"));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    /// As careful writers do it.
    fn replace(&self, name: &str, text: &str) {
        self.write("new", text);
        fs::rename(self.path("new"), self.path(name)).unwrap();
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _removed = fs::remove_dir_all(&self.0);
    }
}

/// A running source and what it has said so far.
struct Running {
    events: mpsc::Receiver<Event>,
    stop: CancellationToken,
    task: JoinHandle<Result<(), FileSourceError>>,
    mesh: Mesh,
    pods: Option<Vec<PodSpec>>,
    /// The last report of either file.
    reports: std::collections::BTreeMap<String, Vec<String>>,
}

impl Running {
    fn start(mesh: &Path, pods: &Path) -> Self {
        let (sender, events) = mpsc::channel(4);
        let stop = CancellationToken::new();
        let source = FileSource::new(mesh, pods);
        Self {
            events,
            stop: stop.clone(),
            task: tokio::spawn(source.run(sender, stop)),
            mesh: Mesh::default(),
            pods: None,
            reports: Default::default(),
        }
    }

    fn start_in(directory: &Directory) -> Self {
        Self::start(&directory.path("mesh.yaml"), &directory.path("pods.yaml"))
    }

    async fn until(&mut self, what: &str, is_so: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + DEADLINE;
        while !is_so(self) {
            let event = timeout_at(deadline, self.events.recv()).await;
            match event.unwrap_or_else(|_| panic!("never: {what}")).unwrap() {
                Event::Mesh(delta) => self.mesh.apply(delta),
                Event::Pods(pods) => self.pods = Some(pods),
                Event::Report(report) => {
                    let text = messages(&report.diagnostics);
                    self.reports.insert(report.origin, text);
                }
            }
        }
    }

    async fn until_workload(&mut self, expected: &str) {
        self.until(expected, |running| {
            let uids: Vec<_> = running.mesh.workloads.keys().map(|uid| &*uid.0).collect();
            uids == [expected]
        })
        .await;
    }

    async fn until_report(&mut self, part: &str) {
        self.until(part, |running| {
            running
                .reports
                .values()
                .flatten()
                .any(|line| line.contains(part))
        })
        .await;
    }

    async fn until_no_report(&mut self) {
        self.until("no report", |running| {
            running.reports.values().all(Vec::is_empty)
        })
        .await;
    }

    async fn stop(self) {
        self.stop.cancel();
        let task = tokio::time::timeout(DEADLINE, self.task);
        task.await.unwrap().unwrap().unwrap();
    }
}

fn mesh_of(uid: &str) -> String {
    format!("workloads:\n- {{uid: {uid}, namespace: n, workloadIps: [10.0.0.1]}}\n")
}

fn pod_of(uid: &str, netns: &Path) -> String {
    format!(
        "- {{uid: {uid}, name: p, namespace: n, netns: {}}}\n",
        netns.display()
    )
}

#[tokio::test]
async fn rewritten_and_replaced() {
    let directory = Directory::new();
    directory.write("mesh.yaml", &mesh_of("a"));
    directory.write("pods.yaml", "[]");
    let mut running = Running::start_in(&directory);
    running.until_workload("a").await;
    assert!(running.mesh.complete);
    running
        .until("pods", |running| running.pods.as_deref() == Some(&[]))
        .await;
    directory.write("mesh.yaml", &mesh_of("b"));
    running.until_workload("b").await;
    directory.replace("mesh.yaml", &mesh_of("c"));
    running.until_workload("c").await;
    directory.replace("mesh.yaml", &mesh_of("d"));
    running.until_workload("d").await;
    assert_eq!(running.reports.len(), 0);
    running.stop().await;
}

/// A ConfigMap volume: `mesh.yaml → ..data/mesh.yaml`, `..data → version`, which is replaced.
#[tokio::test]
async fn a_symlink_swapped() {
    let directory = Directory::new();
    for version in ["v1", "v2", "v3"] {
        fs::create_dir(directory.path(version)).unwrap();
        directory.write(&format!("{version}/mesh.yaml"), &mesh_of(version));
        directory.write(&format!("{version}/pods.yaml"), "[]");
    }
    symlink("v1", directory.path("..data")).unwrap();
    for name in ["mesh.yaml", "pods.yaml"] {
        symlink(Path::new("..data").join(name), directory.path(name)).unwrap();
    }
    let mut running = Running::start_in(&directory);
    running.until_workload("v1").await;
    for version in ["v2", "v3"] {
        symlink(version, directory.path("..data_tmp")).unwrap();
        fs::rename(directory.path("..data_tmp"), directory.path("..data")).unwrap();
        running.until_workload(version).await;
    }
    running.stop().await;
}

#[tokio::test]
async fn a_link_to_a_file_elsewhere() {
    let (directory, elsewhere) = (Directory::new(), Directory::new());
    elsewhere.write("m", &mesh_of("a"));
    directory.write("pods.yaml", "[]");
    symlink(elsewhere.path("m"), directory.path("mesh.yaml")).unwrap();
    let mut running = Running::start_in(&directory);
    running.until_workload("a").await;
    elsewhere.write("m", &mesh_of("b"));
    running.until_workload("b").await;
    elsewhere.replace("m", &mesh_of("c"));
    running.until_workload("c").await;
    running.stop().await;
}

#[tokio::test]
async fn created_late_with_its_directories() {
    let directory = Directory::new();
    let mut running = Running::start(
        &directory.path("later/still/mesh.yaml"),
        &directory.path("later/still/pods.yaml"),
    );
    running.until_report("cannot read the file").await;
    assert!(!running.mesh.complete);
    assert_eq!(running.pods, None);
    fs::create_dir_all(directory.path("later/still")).unwrap();
    directory.write("later/still/mesh.yaml", &mesh_of("a"));
    directory.write("later/still/pods.yaml", "[]");
    running.until_workload("a").await;
    assert!(running.mesh.complete);
    running
        .until("pods", |running| running.pods.is_some())
        .await;
    running.until_no_report().await;
    // The same path, another directory.
    fs::remove_dir_all(directory.path("later")).unwrap();
    running.until_report("cannot read the file").await;
    fs::create_dir_all(directory.path("later/still")).unwrap();
    directory.write("later/still/mesh.yaml", &mesh_of("b"));
    directory.write("later/still/pods.yaml", "[]");
    running.until_workload("b").await;
    running.stop().await;
}

#[tokio::test]
async fn a_broken_file_leaves_the_last_good_state() {
    let directory = Directory::new();
    directory.write("mesh.yaml", "workloads: [\n");
    directory.write("pods.yaml", "[]");
    let mut running = Running::start_in(&directory);
    running.until_report("mesh.yaml:1: unclosed bracket").await;
    assert!(!running.mesh.complete);
    directory.write("mesh.yaml", &mesh_of("a"));
    running.until_workload("a").await;
    running.until_no_report().await;
    let before = running.mesh.clone();
    for broken in ["", "workloads: [", "workload: []\n"] {
        directory.write("mesh.yaml", broken);
        running
            .until("a report", |running| {
                !running.reports.values().all(Vec::is_empty)
            })
            .await;
        assert_eq!(running.mesh, before);
        directory.write("mesh.yaml", &mesh_of("a"));
        running.until_no_report().await;
    }
    fs::remove_file(directory.path("mesh.yaml")).unwrap();
    running.until_report("cannot read the file").await;
    assert_eq!(running.mesh, before);
    running.stop().await;
}

#[tokio::test]
async fn a_bad_entry_does_not_keep_the_mesh_from_being_complete() {
    let directory = Directory::new();
    directory.write("mesh.yaml", "workloads: [{uid: a}]");
    directory.write("pods.yaml", "[]");
    let mut running = Running::start_in(&directory);
    running
        .until("complete", |running| running.mesh.complete)
        .await;
    assert_eq!(running.mesh.rejected.len(), 1);
    running.stop().await;
}

#[tokio::test]
async fn a_pod_waits_for_its_network_namespace() {
    let directory = Directory::new();
    let (a, b) = (directory.path("netns-a"), directory.path("netns-b"));
    // Any namespace file will do; a name without one mounted on it will not.
    symlink("/proc/self/ns/net", &a).unwrap();
    fs::write(&b, "").unwrap();
    directory.write("mesh.yaml", "{}");
    directory.write("pods.yaml", &(pod_of("a", &a) + &pod_of("b", &b)));
    let mut running = Running::start_in(&directory);
    let has = |expected: &'static [&str]| {
        move |running: &Running| {
            let pods = running.pods.iter().flatten();
            pods.map(|pod| pod.uid.as_str())
                .eq(expected.iter().copied())
        }
    };
    running.until("a", has(&["a"])).await;
    running.until_report("pod n/p (b): netns: ").await;
    let line = running.reports.values().flatten().next().unwrap();
    assert!(
        line.ends_with("netns-b: not a namespace; will be tried again"),
        "{line}"
    );
    assert!(line.contains("pods.yaml:2: "), "{line}");
    fs::remove_file(&b).unwrap();
    symlink("/proc/self/ns/net", &b).unwrap();
    running.until("both", has(&["a", "b"])).await;
    running.until_no_report().await;
    // Broken: both stay.
    directory.write("pods.yaml", "- {");
    running.until_report("pods.yaml:1").await;
    directory.write("pods.yaml", &pod_of("b", &b));
    running.until("b", has(&["b"])).await;
    running.stop().await;
}

#[tokio::test]
async fn it_ends_when_nobody_listens() {
    let directory = Directory::new();
    directory.write("mesh.yaml", "{}");
    let mut running = Running::start_in(&directory);
    running.events.close();
    let task = tokio::time::timeout(DEADLINE, running.task);
    task.await.unwrap().unwrap().unwrap();
}

/// Something that is not a file must not block the reader.
#[tokio::test]
async fn a_directory_or_fifo_is_not_read() {
    let directory = Directory::new();
    let fifo = directory.path("mesh.yaml");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let mut running = Running::start_in(&directory);
    running.until_report("mesh.yaml: not a regular file").await;
    running.stop().await;
}
