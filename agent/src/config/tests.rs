mod expedite;
mod source;

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

use clap::Parser;

use super::*;

/// A configuration file in a directory of its own, removed at the end.
struct Written(PathBuf);

impl Written {
    fn new(name: &str, text: &str) -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let id = std::process::id();
        let directory = std::env::temp_dir().join(format!("waysteer-config-{id}-{count}"));
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join(name), text).unwrap();
        Self(directory.join(name))
    }

    fn load(&self) -> Result<Config, ConfigError> {
        Config::load(Some(&self.0), &ConfigArgs::default())
    }

    fn directory(&self) -> &Path {
        self.0.parent().unwrap()
    }

    /// The error without the directory.
    fn error(&self) -> String {
        let error = self.load().unwrap_err().to_string();
        error.replace(&format!("{}/", self.directory().display()), "")
    }
}

impl Drop for Written {
    fn drop(&mut self) {
        let _removed = fs::remove_dir_all(self.directory());
    }
}

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    config: ConfigArgs,
}

fn args(flags: &[&str]) -> ConfigArgs {
    let flags = std::iter::once("waysteer").chain(flags.iter().copied());
    Cli::try_parse_from(flags).unwrap().config
}

const MINIMAL: &str = "node = \"n1\"\n[source]\nmesh = \"mesh.yaml\"\npods = \"/abs/pods.yaml\"\n";

#[test]
fn what_is_not_given_has_a_default() {
    let written = Written::new("waysteer.toml", MINIMAL);
    let config = written.load().unwrap();
    let expected = Config {
        node: "n1".into(),
        network: String::new(),
        cluster_id: "Kubernetes".into(),
        direct_local: DirectLocal::Tunnel,
        mesh_cidrs: Vec::new(),
        cgroup: CgroupRoot::Detect,
        pin_root: "/sys/fs/bpf/waysteer".into(),
        on_stop: OnStop::Undo,
        admin: Admin {
            listen: "127.0.0.1:15030".parse().unwrap(),
            socket: "/run/waysteer/admin.sock".into(),
        },
        source: Source::File {
            mesh: written.directory().join("mesh.yaml"),
            pods: "/abs/pods.yaml".into(),
        },
        tunnel: Tunnel::Embedded {
            identity: Identity::CaDir("/run/waysteer/ca".into()),
        },
        expedite_rcu: ExpediteRcu::By("/sys/kernel/rcu_expedited".into()),
        log: "info".into(),
        verify_interval: 30,
        traffic: Traffic {
            entries: 16_384,
            series: 1_000,
        },
        log_format: LogFormat::Text,
    };
    assert_eq!(config, expected);
}

const FULL_TOML: &str = r#"
node = "n1"
network = "net1"
cluster_id = "c1"
direct_local = "bypass"
mesh_cidrs = ["10.0.0.1/8", "fd00::/8"]
cgroup = "/sys/fs/cgroup/unified"
pin_root = "/sys/fs/bpf/own"
on_stop = "leave"
admin = {listen = "[::1]:1", socket = "a.sock"}
log = "debug"
log_format = "json"
expedite_rcu = true
expedite_rcu_file = "expedited"
verify_interval = 5
traffic = {entries = 3, series = 4}
[source]
kind = "file"
mesh = "/m"
pods = "/p"
[tunnel]
kind = "embedded"
certs = "certs"
"#;

const FULL_YAML: &str = r#"
node: n1
network: net1
cluster_id: c1
direct_local: bypass
mesh_cidrs: [10.0.0.1/8, "fd00::/8"]
cgroup: /sys/fs/cgroup/unified
pin_root: /sys/fs/bpf/own
on_stop: leave
admin: {listen: "[::1]:1", socket: a.sock}
log: debug
log_format: json
expedite_rcu: true
expedite_rcu_file: expedited
verify_interval: 5
traffic: {entries: 3, series: 4}
source: {kind: file, mesh: /m, pods: /p}
tunnel: {kind: embedded, certs: certs}
"#;

#[test]
fn every_key_of_the_file_is_read_from_toml_and_yaml() {
    for (name, text) in [("c.toml", FULL_TOML), ("c.yaml", FULL_YAML)] {
        let written = Written::new(name, text);
        let config = written.load().unwrap();
        let expected = Config {
            node: "n1".into(),
            network: "net1".into(),
            cluster_id: "c1".into(),
            direct_local: DirectLocal::Bypass,
            mesh_cidrs: vec!["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()],
            cgroup: CgroupRoot::Path("/sys/fs/cgroup/unified".into()),
            pin_root: "/sys/fs/bpf/own".into(),
            on_stop: OnStop::Leave,
            admin: Admin {
                listen: "[::1]:1".parse().unwrap(),
                socket: written.directory().join("a.sock"),
            },
            source: Source::File {
                mesh: "/m".into(),
                pods: "/p".into(),
            },
            tunnel: Tunnel::Embedded {
                identity: Identity::Certs(written.directory().join("certs")),
            },
            expedite_rcu: ExpediteRcu::By(written.directory().join("expedited")),
            log: "debug".into(),
            verify_interval: 5,
            traffic: Traffic {
                entries: 3,
                series: 4,
            },
            log_format: LogFormat::Json,
        };
        assert_eq!(config, expected, "{name}");
    }
}

#[test]
fn every_flag_wins_over_the_file() {
    let written = Written::new("c.toml", FULL_TOML);
    let args = args(&[
        "--node=n2",
        "--network=net2",
        "--cluster-id=c2",
        "--direct-local=tunnel",
        "--mesh-cidrs=192.168.0.0/16,fc00::/7",
        "--cgroup=/cg",
        "--pin-root=/pins",
        "--on-stop=undo",
        "--admin-listen=127.0.0.1:2",
        "--admin-socket=/b.sock",
        "--source-kind=file",
        "--source-mesh=/m2",
        "--source-pods=p2",
        "--tunnel-kind=embedded",
        "--tunnel-ca-dir=/ca2",
        "--expedite-rcu=true",
        "--expedite-rcu-file=/e2",
        "--log=warn",
        "--log-format=text",
        "--verify-interval=7",
        "--traffic-entries=5",
        "--traffic-series=6",
    ]);
    let config = Config::load(Some(&written.0), &args).unwrap();
    let expected = Config {
        node: "n2".into(),
        network: "net2".into(),
        cluster_id: "c2".into(),
        direct_local: DirectLocal::Tunnel,
        mesh_cidrs: vec![
            "192.168.0.0/16".parse().unwrap(),
            "fc00::/7".parse().unwrap(),
        ],
        cgroup: CgroupRoot::Path("/cg".into()),
        pin_root: "/pins".into(),
        on_stop: OnStop::Undo,
        admin: Admin {
            listen: "127.0.0.1:2".parse().unwrap(),
            socket: "/b.sock".into(),
        },
        source: Source::File {
            mesh: "/m2".into(),
            pods: std::env::current_dir().unwrap().join("p2"),
        },
        tunnel: Tunnel::Embedded {
            identity: Identity::CaDir("/ca2".into()),
        },
        expedite_rcu: ExpediteRcu::By("/e2".into()),
        log: "warn".into(),
        verify_interval: 7,
        traffic: Traffic {
            entries: 5,
            series: 6,
        },
        log_format: LogFormat::Text,
    };
    assert_eq!(config, expected);
}

#[test]
fn every_flag_has_a_variable_of_the_same_name() {
    // Variables are per process and tests share one, so clap is asked instead.
    let command = <Cli as clap::CommandFactory>::command();
    let flags: Vec<_> = command
        .get_arguments()
        .filter(|arg| arg.get_id() != "help")
        .collect();
    assert!(flags.len() > 16);
    for flag in flags {
        let long = flag.get_long().unwrap();
        let expected = format!("WAYSTEER_{}", long.replace('-', "_").to_uppercase());
        assert_eq!(flag.get_env().unwrap().to_str(), Some(expected.as_str()));
    }
}

#[test]
fn no_file_is_needed_where_flags_say_all() {
    let args = args(&["--node=n", "--source-mesh=/m", "--source-pods=/p"]);
    assert_eq!(Config::load(None, &args).unwrap().node, "n");
}

#[test]
fn mistakes_are_named_with_file_line_and_key() {
    for (text, expected) in [
        (
            "node = \"n\"\nnodes = 3\n",
            "c.toml:2: unknown field `nodes`",
        ),
        (
            "node = \"n\"\n[source]\n\nmash = \"x\"\n",
            "c.toml:4: unknown field `mash`, expected one of `kind`, `mesh`, `pods`, `address`",
        ),
        (
            "[tunnel]\nkind = \"ztunel\"\n",
            "c.toml:2: unknown variant `ztunel`, expected `embedded` or `ztunnel`",
        ),
        ("node = \"n\nx = 1\n", "c.toml:1: invalid basic string"),
        (
            "mesh_cidrs = [\n\"10.0.0.0/8\",\n\"10.0.0\"]\n",
            "c.toml:3: invalid IP address syntax",
        ),
        ("node = \"n\"\nnode = \"m\"\n", "c.toml:2: duplicate key"),
        (
            "[traffic]\nentries = 0\n",
            "c.toml:2: invalid value: integer `0`",
        ),
    ] {
        let error = Written::new("c.toml", text).error();
        assert!(error.starts_with(expected), "{error}");
    }
    let error = Written::new("c.yaml", "node: n\nsource:\n  mash: x\n").error();
    assert!(error.starts_with("c.yaml:3: "), "{error}");
    assert!(error.contains("`mash`"), "{error}");
}

#[test]
fn what_has_no_default_must_be_given() {
    assert_eq!(
        Written::new("c.toml", "node = \"n\"\n[source]\nmesh = \"m\"\n").error(),
        "source.pods is not set: write it in the configuration file, or give --source-pods or \
         WAYSTEER_SOURCE_PODS"
    );
    let error = Written::new("c.toml", "[source]\nmesh = \"m\"\npods = \"p\"\n").error();
    assert!(error.starts_with("node is not set"), "{error}");
    let empty = MINIMAL.replace("n1", "");
    assert_eq!(
        Written::new("c.toml", &empty).error(),
        "node must not be empty"
    );
}

#[test]
fn what_the_kernel_would_not_take_is_refused() {
    let text = format!("{MINIMAL}[traffic]\nentries = 1048577\n");
    let error = Written::new("c.toml", &text).error();
    let expected = "traffic.entries is \"1048577\", which is not 1048576 or less";
    assert_eq!(error, expected);
}

#[test]
fn one_source_of_identities() {
    let both = format!("{MINIMAL}[tunnel]\nca_dir = \"a\"\ncerts = \"b\"\n");
    let written = Written::new("c.toml", &both);
    assert_eq!(
        written.error(),
        "tunnel.ca_dir and tunnel.certs exclude each other: give one of them"
    );
}

#[test]
fn ztunnel_has_a_socket_and_no_identities() {
    let of = |tunnel: &str| {
        Written::new(
            "c.toml",
            &format!("{MINIMAL}[tunnel]\nkind = \"ztunnel\"\n{tunnel}\n"),
        )
    };
    let socket = |socket: &str| Tunnel::Ztunnel {
        socket: socket.into(),
    };
    let default = "/var/run/ztunnel/ztunnel.sock";
    assert_eq!(of("").load().unwrap().tunnel, socket(default));
    let given = of("socket = \"/z.sock\"");
    assert_eq!(given.load().unwrap().tunnel, socket("/z.sock"));
    let args = args(&["--tunnel-kind=ztunnel", "--tunnel-socket=/y.sock"]);
    let config = Config::load(Some(&given.0), &args).unwrap();
    assert_eq!(config.tunnel, socket("/y.sock"));
    let text = serde_json::to_string(&config).unwrap();
    let logged = r#""tunnel":{"kind":"ztunnel","socket":"/y.sock"}"#;
    assert!(text.contains(logged), "{text}");
}

#[test]
fn a_key_of_the_other_tunnel_is_a_mistake() {
    for (kind, line, key) in [
        ("ztunnel", "ca_dir = \"a\"", "tunnel.ca_dir"),
        ("ztunnel", "certs = \"a\"", "tunnel.certs"),
        ("embedded", "socket = \"a\"", "tunnel.socket"),
    ] {
        let text = format!("{MINIMAL}[tunnel]\nkind = {kind:?}\n{line}\n");
        let expected = format!("{key} means nothing with tunnel.kind = {kind:?}: remove it");
        assert_eq!(Written::new("c.toml", &text).error(), expected);
    }
}

#[test]
fn a_missing_file_is_named() {
    let error = Config::load(Some(Path::new("/nowhere/c.toml")), &ConfigArgs::default());
    let error = error.unwrap_err().to_string();
    assert_eq!(error, "cannot read the configuration file /nowhere/c.toml");
}

#[test]
fn the_effective_configuration_can_be_logged() {
    let written = Written::new("c.toml", MINIMAL);
    let text = serde_json::to_string(&written.load().unwrap()).unwrap();
    for part in [
        r#""direct_local":"tunnel""#,
        r#""cgroup":"detect""#,
        r#""source":{"kind":"file""#,
        r#""tunnel":{"kind":"embedded","identity":{"ca_dir":"/run/waysteer/ca"}}"#,
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
}
