//! Services, waypoints and policies that come, change and go, beside those that the traffic needs.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use anyhow::Result;
use waysteer_tests::admin;
use waysteer_tests::bed::Bed;
use waysteer_tests::drawn::Draw;
use waysteer_tests::wait::wait_until;

const PATIENCE: Duration = Duration::from_secs(30);
/// The numbers that there may be.
const FIRST: u8 = 100;
const MOST: usize = 20;
const MOST_POLICIES: usize = 5;

/// What a service is like at present, and so which reason its connections have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Like {
    WithWaypoint,
    WithMissingWaypoint,
    WithoutEndpoints,
    Passthrough,
}

const LIKES: [Like; 4] = [
    Like::WithWaypoint,
    Like::WithMissingWaypoint,
    Like::WithoutEndpoints,
    Like::Passthrough,
];

impl Like {
    fn reason(self) -> &'static str {
        match self {
            Self::WithWaypoint => "ServiceWaypoint",
            Self::WithMissingWaypoint => "WaypointUnresolved",
            Self::WithoutEndpoints => "NoEndpoint",
            Self::Passthrough => "ServicePassthrough",
        }
    }

    fn fields(self) -> String {
        let waypoint = |name: &str| {
            let name = format!("default/{name}.default.svc.cluster.local");
            format!(", waypoint: {{destination: \"{name}\", hboneMtlsPort: 15008}}")
        };
        match self {
            Self::WithWaypoint => waypoint("waypoint"),
            Self::WithMissingWaypoint => waypoint("missing"),
            Self::WithoutEndpoints => String::new(),
            Self::Passthrough => ", loadBalancer: {routingPreferences: [], mode: Passthrough, \
                                  healthPolicy: OnlyHealthy}"
                .to_owned(),
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Services {
    all: BTreeMap<u8, Like>,
    policies: usize,
}

impl Services {
    /// One service comes, is another one, or goes; now and then there are other policies.
    pub(super) fn change(&mut self, bed: &mut Bed, draw: &mut Draw) -> Result<()> {
        let number = FIRST + draw.below(MOST) as u8;
        if draw.one_in(3) {
            self.all.remove(&number);
        } else {
            self.all.insert(number, draw.of(&LIKES));
        }
        if draw.one_in(3) {
            self.policies = draw.below(MOST_POLICIES);
        }
        self.write(bed)
    }

    pub(super) fn remove_all(&mut self, bed: &mut Bed) -> Result<()> {
        *self = Self::default();
        self.write(bed)?;
        self.check(bed)
    }

    fn write(&self, bed: &mut Bed) -> Result<()> {
        let mut text = String::new();
        for (number, like) in &self.all {
            let vip = Bed::service(*number, false).ip();
            writeln!(
                text,
                "- {{name: soak-{number}, namespace: default, hostname: \
                 soak-{number}.default.svc.cluster.local, vips: [\"/{vip}\"], ports: {{80: 8080}}{}}}",
                like.fields()
            )?;
        }
        if self.policies > 0 {
            text += "policies:\n";
        }
        for number in 0..self.policies {
            writeln!(
                text,
                "- {{name: soak-{number}, namespace: elsewhere, scope: Namespace, action: Deny, \
                 rules: [[[{{notNamespaces: [{{Exact: n{number}}}]}}]]], dryRun: false}}"
            )?;
        }
        bed.further_mesh = text;
        bed.write_mesh(&bed.mesh())
    }

    /// Waits until the kernel decides about each as it is now.
    pub(super) fn check(&self, bed: &Bed) -> Result<()> {
        for number in (FIRST..).take(MOST) {
            let expected = self
                .all
                .get(&number)
                .map_or("Unknown", |like| like.reason());
            let to = Bed::service(number, false);
            wait_until(PATIENCE, &format!("{to}: {expected}"), || {
                let said = admin::explain(&bed.socket(), "default/client", to);
                said.is_ok_and(|(reason, _)| reason == expected)
            })?;
        }
        let policies = self.policies as u64;
        wait_until(PATIENCE, &format!("{policies} policies"), || {
            bed.metric("waysteer_source_policies", &[])
                .is_ok_and(|known| known == policies)
        })
    }
}
