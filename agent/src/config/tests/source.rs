//! istiod as the source.

use super::*;

const XDS: &str = "node = \"n1\"\n[source]\nkind = \"xds\"\npod_name = \"waysteer-1\"\n\
                   pod_ip = \"10.0.0.1\"\npods = \"/pods\"\n";

fn defaults() -> Xds {
    Xds {
        address: "istiod.istio-system.svc:15012".into(),
        transport: Transport::Tls {
            root_ca: "/var/run/secrets/istio/root-cert.pem".into(),
            server_name: None,
        },
        token: Some("/var/run/secrets/tokens/istio-token".into()),
        pod_name: "waysteer-1".into(),
        pod_namespace: "istio-system".into(),
        pod_ip: "10.0.0.1".parse().unwrap(),
        domain: "cluster.local".into(),
        istio_version: None,
        pods: "/pods".into(),
    }
}

#[test]
fn in_a_pod_of_istios_namespace_little_is_to_be_said() {
    let config = Written::new("c.toml", XDS).load().unwrap();
    assert_eq!(config.source, Source::Xds(defaults()));
}

#[test]
fn every_key_is_read_from_the_file() {
    let text = format!(
        "{XDS}address = \"[::1]:1\"\nroot_ca = \"ca.pem\"\nserver_name = \"istiod\"\n\
         token = \"t\"\npod_namespace = \"ns\"\ndomain = \"example.org\"\n\
         istio_version = \"1.30.1\"\nplaintext = false\n"
    );
    let written = Written::new("c.toml", &text);
    let expected = Xds {
        address: "[::1]:1".into(),
        transport: Transport::Tls {
            root_ca: written.directory().join("ca.pem"),
            server_name: Some("istiod".into()),
        },
        token: Some(written.directory().join("t")),
        pod_namespace: "ns".into(),
        domain: "example.org".into(),
        istio_version: Some("1.30.1".into()),
        ..defaults()
    };
    assert_eq!(written.load().unwrap().source, Source::Xds(expected));
}

#[test]
fn every_flag_wins() {
    let written = Written::new("c.toml", XDS);
    let args = args(&[
        "--source-kind=xds",
        "--source-pods=/p2",
        "--source-address=istiod:15012",
        "--source-root-ca=/ca2",
        "--source-server-name=s2",
        "--source-token=/t2",
        "--source-pod-name=p2",
        "--source-pod-namespace=ns2",
        "--source-pod-ip=fd00::1",
        "--source-domain=d2",
        "--source-istio-version=1.31.0",
        "--source-plaintext=false",
    ]);
    let config = Config::load(Some(&written.0), &args).unwrap();
    let expected = Xds {
        address: "istiod:15012".into(),
        transport: Transport::Tls {
            root_ca: "/ca2".into(),
            server_name: Some("s2".into()),
        },
        token: Some("/t2".into()),
        pod_name: "p2".into(),
        pod_namespace: "ns2".into(),
        pod_ip: "fd00::1".parse().unwrap(),
        domain: "d2".into(),
        istio_version: Some("1.31.0".into()),
        pods: "/p2".into(),
    };
    assert_eq!(config.source, Source::Xds(expected));
    let text = serde_json::to_string(&config).unwrap();
    let logged = r#""source":{"kind":"xds","address":"istiod:15012","transport":{"tls":"#;
    assert!(text.contains(logged), "{text}");
}

#[test]
fn in_plaintext_there_is_neither_certificate_nor_token() {
    let written = Written::new("c.toml", XDS);
    for flag in ["--source-plaintext", "--source-plaintext=true"] {
        let config = Config::load(Some(&written.0), &args(&[flag])).unwrap();
        let expected = Xds {
            transport: Transport::Plaintext,
            token: None,
            ..defaults()
        };
        assert_eq!(config.source, Source::Xds(expected));
    }
    for key in ["root_ca", "server_name"] {
        let text = format!("{XDS}plaintext = true\n{key} = \"x\"\n");
        let expected =
            format!("source.{key} means nothing with source.plaintext = true: remove it");
        assert_eq!(Written::new("c.toml", &text).error(), expected);
    }
}

#[test]
fn a_key_of_the_other_source_is_a_mistake() {
    for line in [
        "address = \"a:1\"",
        "root_ca = \"a\"",
        "server_name = \"a\"",
        "token = \"a\"",
        "plaintext = true",
        "pod_name = \"a\"",
        "pod_namespace = \"a\"",
        "pod_ip = \"::1\"",
        "domain = \"a\"",
        "istio_version = \"1.30.0\"",
    ] {
        let error = Written::new("c.toml", &format!("{MINIMAL}{line}\n")).error();
        let key = line.split(' ').next().unwrap();
        let expected = format!("source.{key} means nothing with source.kind = \"file\": remove it");
        assert_eq!(error, expected);
    }
    assert_eq!(
        Written::new("c.toml", &format!("{XDS}mesh = \"m\"\n")).error(),
        "source.mesh means nothing with source.kind = \"xds\": remove it"
    );
}

#[test]
fn what_istiod_is_told_must_make_sense() {
    for (key, line, expected) in [
        ("pod_name", "", "source.pod_name is not set: write it in"),
        ("pod_ip", "", "source.pod_ip is not set: write it in"),
        ("pods", "", "source.pods is not set: write it in"),
        (
            "pod_name",
            "pod_name = \"\"",
            "source.pod_name must not be empty",
        ),
        (
            "pod_name",
            "pod_name = \"a~b\"",
            "source.pod_name is \"a~b\", which is not a name of letters",
        ),
    ] {
        let others = XDS
            .lines()
            .filter(|given| !given.starts_with(&format!("{key} =")));
        let lines: Vec<&str> = others.chain([line]).collect();
        let error = Written::new("c.toml", &lines.join("\n")).error();
        assert!(error.starts_with(expected), "{error}");
    }
    for address in [
        "",
        "istiod",
        ":15012",
        "istiod:",
        "istiod:0",
        "istiod:70000",
        "https://istiod:1",
        "istiod:1/x",
        "a@istiod:1",
        "a b:1",
    ] {
        let error = Written::new("c.toml", &format!("{XDS}address = {address:?}\n")).error();
        let expected = format!("source.address is {address:?}, which is not HOST:PORT");
        assert_eq!(error, expected);
    }
}
