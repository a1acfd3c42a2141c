//! The kernel's side of the agent, in a real kernel. Needs root and the built object; without
//! them, every test says loudly that it was left out.

mod bed;
mod capture;
mod expedite;
mod flows;
mod inspect;
mod links;
mod listeners;
mod map_drift;
mod maps;
mod order;
mod pins;
mod privileges;
mod tables;
mod watch;

use waysteer::config::PIN_ROOT;
use waysteer::kernel::features::{self, Asked};
use waysteer::kernel::load::{LoadOptions, Loaded, Programs};
use waysteer::kernel::object::Object;

/// Ends the calling test where it cannot run.
macro_rules! needs_root {
    () => {
        if let Some(lacking) = crate::lacking() {
            use std::io::Write as _;
            // Not by a macro, whose output the test harness keeps to itself.
            let _ = writeln!(std::io::stderr(), "SKIPPED {}: {lacking}", module_path!());
            return;
        }
    };
}
pub(crate) use needs_root;

fn lacking() -> Option<&'static str> {
    if !nix::unistd::geteuid().is_root() {
        Some("needs root")
    } else if Object::embedded().is_err() {
        Some("needs the kernel programs: `cargo xtask build-ebpf`")
    } else {
        None
    }
}

fn load(options: &LoadOptions) -> Loaded {
    let object = Object::embedded().expect("the kernel programs");
    Programs::load(&object, options).expect("the kernel takes the programs")
}

#[test]
fn every_program_loads_and_tcx_works() {
    needs_root!();
    let findings = features::check(Asked::default(), PIN_ROOT.as_ref());
    let failures: Vec<_> = findings
        .iter()
        .filter(|finding| finding.is_failure())
        .collect();
    assert!(failures.is_empty(), "{failures:#?}");
    assert!(
        findings
            .iter()
            .any(|finding| finding.what == "program pod_egress"),
        "{findings:#?}"
    );
}

#[test]
fn a_dry_run_loads_too() {
    needs_root!();
    load(&LoadOptions {
        dry_run: true,
        ..LoadOptions::default()
    });
}

#[test]
fn a_broken_object_is_refused_in_words() {
    needs_root!();
    let path = std::env::temp_dir().join(format!("waysteer-broken-{}.o", std::process::id()));
    std::fs::write(&path, b"no object").expect("a file");
    let asked = Asked {
        object: Some(&path),
        ..Asked::default()
    };
    let findings = features::check(asked, PIN_ROOT.as_ref());
    std::fs::remove_file(&path).expect("the file");
    let failure = findings
        .iter()
        .find(|finding| finding.what == "maps")
        .expect("a finding");
    assert!(failure.is_failure(), "{failure:?}");
}
