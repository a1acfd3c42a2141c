//! What ztunnel lets in is what the kernel lets past it, for a table of policies.

use std::net::SocketAddr;

use anyhow::{Context as _, Result, ensure};
use waysteer_tests::admin;
use waysteer_tests::bed::{Bed, Options, TunnelKind};
use waysteer_tests::dial::Dial;
use waysteer_tests::http;
use waysteer_tests::peers::{Server, Service};
use waysteer_tests::ztunnel::Ztunnel;

use super::bed;

/// The cases' ports begin here: each policy is for one of them only.
const FIRST: u16 = 20000;
const SERVERS: [&str; 2] = ["server", "other"];

/// What a case's policy asks, besides its port, of `client`; `{v4}` and `{v6}` are the client's
/// addresses, `{to4}` and `{to6}` the server's.
#[rustfmt::skip]
const CASES: &[&str] = &[
    "[]",
    "[{}]",
    "[{namespaces: [!Exact default]}]",
    "[{namespaces: [!Exact other]}]",
    "[{namespaces: [!Prefix def]}]",
    "[{namespaces: [!Suffix ault]}]",
    "[{namespaces: [!Suffix def]}]",
    "[{namespaces: [!Presence []]}]",
    "[{notNamespaces: [!Exact default]}]",
    "[{notNamespaces: [!Exact other]}]",
    "[{namespaces: [!Presence []], notNamespaces: [!Prefix d]}]",
    "[{principals: [!Exact cluster.local/ns/default/sa/client]}]",
    "[{principals: [!Exact \"spiffe://cluster.local/ns/default/sa/client\"]}]",
    "[{principals: [!Prefix cluster.local/ns/default/]}]",
    "[{principals: [!Prefix \"spiffe://\"]}]",
    "[{principals: [!Suffix /sa/client]}]",
    "[{principals: [!Suffix /sa/server]}]",
    "[{principals: [!Presence []]}]",
    "[{principals: [!Prefix \"\"]}]",
    "[{notPrincipals: [!Suffix /sa/client]}]",
    "[{notPrincipals: [!Presence []]}]",
    "[{serviceAccounts: [{namespace: default, serviceAccount: client}]}]",
    "[{serviceAccounts: [{namespace: other, serviceAccount: client}]}]",
    "[{notServiceAccounts: [{namespace: default, serviceAccount: client}]}]",
    "[{sourceIps: [\"{v4}/32\"]}]",
    "[{sourceIps: [\"{v6}/128\"]}]",
    "[{sourceIps: [\"0.0.0.0/0\"]}]",
    "[{notSourceIps: [\"{v4}/32\", \"{v6}/128\"]}]",
    "[{sourceIps: [\"0.0.0.0/0\", \"::/0\"], notSourceIps: [\"{v4}/31\"]}]",
    "[{destinationIps: [\"{to4}/32\"]}]",
    "[{destinationIps: [\"::/0\"]}]",
    "[{notDestinationIps: [\"{to4}/24\"]}]",
    "[{namespaces: [!Exact other]}, {principals: [!Suffix client]}]",
    "[{namespaces: [!Exact other], principals: [!Suffix client]}]",
    "[{}, {notDestinationPorts: [1]}]",
    "[{notDestinationPorts: [20000, 20035, 20036]}]",
];

/// Which of a case's addresses there are is known when the bed is.
fn filled(bed: &Bed, case: &str, server: &str) -> String {
    let address = |pod, v6| bed.address(pod, v6).to_string();
    case.replace("{v4}", &address("client", false))
        .replace("{v6}", &address("client", true))
        .replace("{to4}", &address(server, false))
        .replace("{to6}", &address(server, true))
}

/// A case allows, or denies; its server, and its port.
fn place(number: usize) -> Result<(bool, &'static str, u16)> {
    let port = FIRST + u16::try_from(number)?;
    Ok((number.is_multiple_of(2), SERVERS[number / 2 % 2], port))
}

/// Each case is there twice, to allow and to deny.
fn number_of_cases() -> usize {
    CASES.len() * 2
}

/// For each server the policies that it names; with more ports than fit into one entry of the
/// kernel's map, it would answer nothing.
fn mesh(bed: &Bed, cases: &[usize]) -> Result<String> {
    let mut policies = String::from("policies:\n");
    let mut mesh = bed.mesh();
    for server in SERVERS {
        let mut names = Vec::new();
        let mut add = |name: String, action: &str, rule: String| {
            policies += &format!(
                "- {{name: {name}, namespace: default, scope: WorkloadSelector, action: {action}, \
                 rules: [{rule}], dryRun: false}}\n"
            );
            names.push(format!("\"default/{name}\""));
        };
        let mut denied = Vec::new();
        for &number in cases {
            let (allow, of, port) = place(number)?;
            if of != server {
                continue;
            }
            let asks = filled(bed, CASES[number / 2], server);
            let rule = format!("[{asks}, [{{destinationPorts: [{port}]}}]]");
            add(
                format!("case-{number}"),
                if allow { "Allow" } else { "Deny" },
                rule,
            );
            if !allow {
                denied.push(port.to_string());
            }
        }
        // What is not denied is allowed there.
        let ports = denied.join(", ");
        add(
            format!("rest-{server}"),
            "Allow",
            format!("[[{{destinationPorts: [{ports}]}}]]"),
        );
        let name = format!("name: {server},");
        ensure!(mesh.matches(&name).count() == 1);
        let with = format!("{name} authorizationPolicies: [{}],", names.join(", "));
        mesh = mesh.replace(&name, &with);
    }
    Ok(mesh + &policies)
}

fn answers(bed: &Bed, server: &str, to: SocketAddr) -> Result<bool> {
    let connection = Dial::new().connect(&bed.pod("client").netns, to)?;
    match http::get(&connection.stream, "server", "/") {
        Ok(response) => Ok(response.seen()?.server == server),
        Err(_) => Ok(false),
    }
}

/// The cases in parts, so that no entry of the kernel's map is too small for one.
#[test]
fn the_kernel_allows_what_ztunnel_allows() -> Result<()> {
    let all: Vec<usize> = (0..number_of_cases()).collect();
    let (mut compared, mut allowed) = (0, 0);
    for cases in all.chunks(40) {
        let Some(more) = compare(cases)? else {
            return Ok(());
        };
        compared += more.len();
        allowed += more.iter().filter(|allowed| **allowed).count();
    }
    println!("{compared} verdicts, of them {allowed} allowed");
    ensure!(compared == number_of_cases() * 2 && allowed > 40 && compared - allowed > 40);
    Ok(())
}

fn compare(cases: &[usize]) -> Result<Option<Vec<bool>>> {
    let tunnel = Options {
        direct_local: "tunnel",
        start_agent: false,
        ..Options::default()
    };
    let Some(mut bed) = bed(tunnel)? else {
        return Ok(None);
    };
    bed.write_mesh(&mesh(&bed, cases)?)?;
    bed.start_agent()?;
    let _ztunnel = Ztunnel::start(&bed, "ztunnel")?;
    bed.wait_until_ready()?;
    let mut servers = Vec::new();
    let mut ztunnels = Vec::new();
    for &number in cases {
        let (_, server, port) = place(number)?;
        servers.push(Server::start(
            &bed.pod(server).netns,
            server,
            port,
            Service::Http,
        )?);
        for v6 in [false, true] {
            let to = SocketAddr::new(bed.address(server, v6), port);
            ztunnels.push((number, to, answers(&bed, server, to)?));
        }
    }
    bed.stop_agent()?;
    bed.configure(&Options {
        tunnel: TunnelKind::Zds,
        ..Options::default()
    })?;
    bed.start_agent()?;
    bed.wait_until_ready()?;
    let mut verdicts = Vec::new();
    for (number, to, expected) in ztunnels {
        let (reason, why) = admin::explain(&bed.socket(), "default/client", to)?;
        let case = CASES.get(number / 2).context("a case")?;
        let found = match reason.as_str() {
            "LocalBypass" => true,
            "LocalPolicy" => false,
            _ => anyhow::bail!("{number} {case} at {to}: {reason}, {why}"),
        };
        ensure!(
            found == expected,
            "{number} {case} at {to}: {why}, ztunnel says {expected}"
        );
        verdicts.push(found);
    }
    Ok(Some(verdicts))
}
