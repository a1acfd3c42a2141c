//! A stand-alone HBONE peer: the tunnel of another node, or a waypoint, for demos and tests.

use std::io::Write;
use std::sync::Arc;

use anyhow::Context;
use clap::Parser;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use waysteer_hbone::ca::LocalCa;
use waysteer_hbone::certs::{CertSource, FileCerts, Files};
use waysteer_hbone::identity::SpiffeId;
use waysteer_hbone::server::{Server, ServerConfiguration};

use args::{Args, Command, ServeArgs};
use handler::Peer;

mod args;
mod handler;
mod socket;
mod upstream;

fn main() -> anyhow::Result<()> {
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .with_writer(std::io::stderr)
        .init();
    let Args { command, serve } = Args::parse();
    match (command, serve) {
        (Some(Command::Certs(certs)), _) => {
            let ca = LocalCa::load_or_create(&certs.ca)?;
            let name = certs.name.as_deref();
            let name = name.unwrap_or(certs.identity.service_account());
            let files = ca.write_leaf(&certs.identity, &certs.out, name)?;
            print_line(&json!({
                "event": "certificates",
                "identity": certs.identity.as_str(),
                "certificate": files.certificate,
                "key": files.key,
                "roots": files.roots,
            }));
            Ok(())
        }
        (None, Some(serve)) => tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()?
            .block_on(run(serve)),
        (None, None) => anyhow::bail!("nothing to do: see --help"),
    }
}

async fn run(args: ServeArgs) -> anyhow::Result<()> {
    let (certs, identity) = credentials(&args)?;
    let listeners = args
        .listen
        .iter()
        .map(|address| {
            socket::listen(*address, args.mark).with_context(|| format!("listening on {address}"))
        })
        .collect::<anyhow::Result<Vec<_>>>()?;
    let peer = Arc::new(Peer::new(&args, certs.clone(), identity.clone())?);
    let config = ServerConfiguration::default();
    let server = Arc::new(Server::new(config, certs, identity.clone(), peer));
    let shutdown = CancellationToken::new();
    let mut tasks = JoinSet::new();
    for listener in listeners {
        let address = listener.local_addr()?;
        print_line(&json!({
            "event": "listening", "address": address, "identity": identity.as_str(),
        }));
        tasks.spawn(accept(listener, server.clone(), shutdown.clone()));
    }
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    shutdown.cancel();
    while tasks.join_next().await.is_some() {}
    Ok(())
}

fn credentials(args: &ServeArgs) -> anyhow::Result<(Arc<dyn CertSource>, SpiffeId)> {
    if let Some(dir) = &args.ca {
        let identity = args.identity.clone();
        let identity = identity.context("--ca needs --identity: whom to certify")?;
        return Ok((Arc::new(LocalCa::load_or_create(dir)?), identity));
    }
    let (Some(certificate), Some(key), Some(roots)) = (&args.cert, &args.key, &args.root) else {
        anyhow::bail!("give --ca DIR, or all of --cert, --key and --root");
    };
    let mut certs = FileCerts::new();
    let found = certs.add(Files {
        certificate: certificate.clone(),
        key: key.clone(),
        roots: roots.clone(),
    })?;
    if let Some(wanted) = &args.identity
        && *wanted != found
    {
        anyhow::bail!("{certificate:?} certifies {found}, not {wanted}");
    }
    Ok((Arc::new(certs), found))
}

/// Accepts until the shutdown, and then waits for the connections to drain.
async fn accept(listener: TcpListener, server: Arc<Server<Peer>>, shutdown: CancellationToken) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = shutdown.cancelled() => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((tcp, peer_addr)) => {
                    let (server, shutdown) = (server.clone(), shutdown.clone());
                    connections.spawn(async move {
                        if let Err(error) = server.serve(tcp, &shutdown).await {
                            let error = format!("{:#}", anyhow::Error::from(error));
                            tracing::info!(%peer_addr, error, "connection ended");
                        }
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "accept failed");
                    // Out of descriptors, most likely: some have to be closed first.
                    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                }
            },
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

/// One JSON document, one line, at once: whoever started us waits for it.
fn print_line(value: &serde_json::Value) {
    let mut out = std::io::stdout().lock();
    // Nobody may be reading; the tunnels go on.
    let _ = writeln!(out, "{value}").and_then(|()| out.flush());
}
