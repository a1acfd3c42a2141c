//! The mesh file, followed as the agent does it.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use waysteer::source::Event;
use waysteer::source::file::FileSource;

use crate::pods::Pods;

/// Runs until the process ends.
pub(crate) async fn follow(mesh: PathBuf, pods: Arc<Pods>) -> Result<()> {
    let (events, mut received) = mpsc::channel(16);
    // Its pods come over ZDS; a file of none is always missing here, and nothing waits for it.
    let none = mesh.with_extension("no-pods");
    let source = FileSource::new(mesh, none).run(events, CancellationToken::new());
    let follow = async {
        while let Some(event) = received.recv().await {
            match event {
                Event::Mesh(delta) => pods.apply(delta).await,
                Event::Pods(_) => {}
                Event::Report(report) => println!("{report:?}"),
            }
        }
    };
    let (ended, ()) = tokio::join!(source, follow);
    ended.context("following the mesh")
}
